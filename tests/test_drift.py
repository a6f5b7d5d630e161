"""What is trained on is what was sampled, whatever was sampled; rendering the same conversations again is not that."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from agentdistill_environments.depot import Depot
from students import SMALL, depot_student, run_all, specs_of
from templates import TOOLS, tokenizer_for, trl_templates, user

from agentdistill.chat import Renderer, Row
from agentdistill.policies import Request
from agentdistill.policies.local import LocalPolicy, Sampling
from agentdistill.policies.tiny import make_student
from agentdistill.records import Completion, Message, Step, Task, Trajectory
from agentdistill.rollout import EpisodeSpec, Rollout

TABLE: dict[str, dict[str, str]] = {}
Ids = tuple[int, ...]


def fed_and_said(trace: Trajectory) -> list[tuple[Ids, Ids]]:
    """What the model was fed before each turn, whole, and what it sampled, by what the policy wrote down."""
    turns: list[tuple[Ids, Ids]] = []
    known: Ids = ()
    for step in trace.steps:
        said = step.completion
        fed = said.context_ids if said.fresh else known + said.context_ids
        turns.append((fed, said.token_ids))
        known = fed + said.token_ids
    return turns


def supervised(rows: Sequence[Row]) -> list[tuple[Ids, Ids]]:
    """Each stretch that carries loss, with all that stands before it."""
    found: list[tuple[Ids, Ids]] = []
    for row in rows:
        starts = [at for at, loss in enumerate(row.mask) if loss and not (at and row.mask[at - 1])]
        for start in starts:
            end = next((at for at in range(start, len(row.mask)) if not row.mask[at]), len(row.mask))
            found.append((tuple(row.ids[:start]), tuple(row.ids[start:end])))
    return found


def mismatches(renderer: Renderer, traces: Sequence[Trajectory]) -> tuple[int, int, list[Completion]]:
    """Turns; those the trainer would be fed otherwise than they were sampled; those that rendering again changes."""
    turns = wrong = 0
    rendered: list[Completion] = []
    for trace in traces:
        copied = trace.parent.step if trace.parent else 0
        sampled = fed_and_said(trace)[copied:]
        trained = supervised(renderer.rows(trace, trained="student"))
        wrong += sum(each not in trained for each in sampled) + abs(len(sampled) - len(trained))
        turns += len(sampled)
        for index, (_, said) in enumerate(sampled, copied):
            completion = trace.steps[index].completion
            if tuple(renderer.turn(trace.messages(index), completion.message, trace.tools)) != said:
                rendered.append(completion)
    return turns, wrong, rendered


def well_formed(said: Completion) -> bool:
    """Ended by itself, and every call could be read."""
    return said.finish == "stop" and not any(call.problem for call in said.message.tool_calls)


def test_a_thousand_turns_of_free_sampling_are_trained_on_as_they_were_sampled():
    student = depot_student(Sampling(max_new_tokens=24, temperature=1.4, batch=64))
    rollout = Rollout(Depot, student, workers=1, keep_snapshots=False)
    traces = run_all(rollout, specs_of(Depot().make_tasks("train", 150)))
    turns, wrong, rendered = mismatches(student.renderer, traces)
    said = [step.completion for trace in traces for step in trace.steps]
    TABLE["tiny model on Depot"] = {
        "turns": str(turns),
        "trained otherwise than sampled": str(wrong),
        "changed by rendering again": str(len(rendered)),
        "of these well formed": str(sum(well_formed(each) for each in rendered)),
        "malformed calls": str(sum(bool(call.problem) for each in said for call in each.message.tool_calls)),
        "cut short": str(sum(each.finish == "length" for each in said)),
    }
    assert turns >= 1000
    assert wrong == 0
    assert any(well_formed(each) for each in rendered)
    assert not any(each.fresh for each in said), "this template keeps all that it writes"
    assert any(call.problem for each in said for call in each.message.tool_calls)
    assert any("\ufffd" in each.message.content for each in said), "broken unicode must be among it"


FAMILIES = ["qwen2_5", "qwen3", "qwen3_5_think", "gptoss", "glm4moe", "llama3_1", "gemma4", "nemotron_3_nano"]


@pytest.mark.parametrize("name", FAMILIES)
def test_what_a_model_of_any_family_samples_is_what_it_is_trained_on(name):
    if name not in trl_templates():
        pytest.skip("TRL's templates are not installed")
    tokenizer = tokenizer_for(trl_templates()[name])
    config = SMALL.model_copy(update={"context": 20_000})
    policy = LocalPolicy(make_student(tokenizer, config, 0), tokenizer, Sampling(max_new_tokens=16, temperature=2.0))
    traces = sampled_traces(policy, 12)
    turns, wrong, rendered = mismatches(policy.renderer, traces)
    anew = sum(step.completion.fresh for trace in traces for step in trace.steps)
    TABLE[name] = {
        "turns": str(turns),
        "trained otherwise than sampled": str(wrong),
        "changed by rendering again": str(len(rendered)),
        "of these well formed": str(sum(well_formed(each) for each in rendered)),
        "fed anew": str(anew),
    }
    assert wrong == 0


def sampled_traces(policy: LocalPolicy, count: int, turns: int = 4) -> list[Trajectory]:
    """Conversations in which every turn is sampled, and calls and answers are answered with something."""
    traces: list[list[Step]] = [[] for _ in range(count)]
    openings = [(user(f"Number {index}: go on."),) for index in range(count)]
    talks: list[list[Message]] = [list(opening) for opening in openings]
    sealed: list[tuple[Ids, int]] = [((), 0)] * count
    for number in range(turns):
        requests = [
            Request(tuple(talk), TOOLS, ids, covered, seed=number * count + at)
            for at, (talk, (ids, covered)) in enumerate(zip(talks, sealed, strict=True))
        ]
        for at, said in enumerate(policy.act(requests)):
            ids = said.context_ids if said.fresh else sealed[at][0] + said.context_ids
            sealed[at] = (ids + said.token_ids, len(talks[at]) + 1)
            calls = said.message.tool_calls
            answers = [
                Message(role="tool", tool_call_id=call.id, name=call.name or "unknown", content="Error: no such tool")
                for call in calls
            ] or [user("And then?")]
            talks[at] += [said.message, *answers]
            traces[at].append(Step(actor="student", completion=said, observations=tuple(answers)))
    return [
        Trajectory(
            id=f"t{at}",
            task=Task(id="t", environment="e", instruction="i"),
            policy="p",
            seed=0,
            opening=openings[at],
            tools=TOOLS,
            steps=tuple(steps),
            ending="step_limit",
        )
        for at, steps in enumerate(traces)
    ]


class Short(Depot):
    """Episodes of few turns."""

    step_limit = 7


def test_a_rollout_with_a_template_that_forgets_thoughts_is_trained_on_as_it_was_fed():
    if "qwen3" not in trl_templates():
        pytest.skip("TRL's templates are not installed")
    tokenizer = tokenizer_for(trl_templates()["qwen3"])
    config = SMALL.model_copy(update={"context": 3000})
    policy = LocalPolicy(make_student(tokenizer, config, 0), tokenizer, Sampling(max_new_tokens=8, temperature=2.0))
    rollout = Rollout(Short, policy, workers=1)
    traces = run_all(rollout, specs_of(Short().make_tasks("train", 4)))
    assert any(step.completion.fresh for trace in traces for step in trace.steps)
    forks = [EpisodeSpec(trace.task, 7, fork=(trace, 3), reseed=True) for trace in traces]
    for each in (traces, run_all(rollout, forks)):
        turns, wrong, _ = mismatches(policy.renderer, each)
        assert turns >= 16
        assert wrong == 0
