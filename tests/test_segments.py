"""The token test: what the trainer feeds is what the model was fed, on real runs, for every segment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import pytest
import torch
from agentdistill_environments.depot import Depot
from agentdistill_environments.repair import Repair
from students import SMALL, clean_segments, clean_traces, depot_student, diverging, run_all, specs_of, texts_of

from agentdistill.chat import Renderer
from agentdistill.divergence import Detector, Earliest, FirstToolError, RandomStep
from agentdistill.errors import SegmentTooLongError
from agentdistill.policies import Request
from agentdistill.policies.local import LocalPolicy, Sampling
from agentdistill.policies.scripted import ScriptedTeacher
from agentdistill.policies.tiny import make_student, make_tokenizer
from agentdistill.records import Completion, Segment, Task, Trajectory
from agentdistill.rollout import EpisodeSpec, MakeEnvironment, Rollout
from agentdistill.sandbox.bubblewrap import BubblewrapBackend
from agentdistill.segments import rows_of, segments_of
from agentdistill.takeover import Takeover, TakeoverConfig
from agentdistill.training import Pool, Progress, TrainingConfig, train

Ids = tuple[int, ...]


@contextmanager
def seen_by(model: Any) -> Iterator[Counter[Ids]]:
    """Every conversation that the last query of a row could see in a forward pass while this is open.

    It is read out of what attention was given, wherever that came from: in the first layer a value depends on its
    token alone, so that tokens can be told from values.
    """
    seen: Counter[Ids] = Counter()
    layer = model.model.layers[0]
    with torch.no_grad():
        table = layer.self_attn.v_proj(layer.input_layernorm(model.model.embed_tokens.weight))

    def note(module: Any, arguments: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        slots = named["past_key_values"]
        values = slots.values[0, slots._first : slots._last, : slots._held].flatten(2)
        last = named["position_ids"][:, -1]
        for row, mask, position in zip(values, named["attention_mask"], last.tolist(), strict=True):
            visible = mask[0, -1] == 0
            assert visible.tolist() == [column <= position for column in range(len(visible))]
            far, which = torch.cdist(row[visible], table, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1)
            assert far.max() < 1e-4
            seen[tuple(which.tolist())] += 1

    hook = model.register_forward_hook(note, with_kwargs=True)
    try:
        yield seen
    finally:
        hook.remove()


class Watched:
    """A local policy whose model is watched: in each pass a row sees its prompt and its turn so far, and no more."""

    privileged = False

    def __init__(self, policy: LocalPolicy) -> None:
        self.policy = policy
        self.name = policy.name
        self.prompts: set[Ids] = set()
        self.said: list[Completion] = []

    def act(self, requests: Sequence[Request]) -> list[Completion]:
        assert self.policy.batch  # which is tried out on the model, unwatched
        with seen_by(self.policy.model) as seen:
            completions = self.policy.act(requests)
        self.said += completions
        expected: Counter[Ids] = Counter()
        for request, said in zip(requests, completions, strict=True):
            prompt = (*request.context_ids, *said.context_ids)
            expected.update((*prompt, *said.token_ids[:at]) for at in range(len(said.token_ids)))
            if said.token_ids:
                self.prompts.add(prompt)
        assert seen == expected
        return completions


def trained_on(model: Any, segments: Sequence[Segment]) -> set[Ids]:
    """All conversations that a trainer feeds, by what the model's forward sees: each way from a root to a node."""
    ways: set[Ids] = set()

    def note(module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        ids, nodes = named["input_ids"][0].tolist(), named["forest"].nodes
        for node in nodes:
            above = [token for each in node.above for token in ids[nodes[each].start : nodes[each].stop]]
            ways.add((*above, *ids[node.start : node.stop]))

    with ExitStack() as stack:

        def begun(progress: Progress) -> None:  # not before: the trainer tries the model out
            stack.callback(model.base_model.register_forward_pre_hook(note, with_kwargs=True).remove)

        config = TrainingConfig(steps=3, tokens_per_step=10_000)
        train(model, [Pool(segments, 1.0)], config, seed=0, on_step=begun)
    return ways


def before_the_last(segment: Segment) -> Ids:
    """Everything before the last token that carries loss: what comes after it is predicted by nobody."""
    return segment.input_ids[: max(at for at, counts in enumerate(segment.loss_mask) if counts)]


def prefix(segment: Segment) -> Ids:
    """Everything before the first token that carries loss."""
    return segment.input_ids[: segment.loss_mask.index(True)]


def takeovers(
    make: MakeEnvironment, watched: Watched, tasks: Sequence[Task], detector: Detector
) -> tuple[list[Trajectory], list[Trajectory]]:
    """The student's failures, and the teacher's climbs out of them."""
    failures = run_all(Rollout(make, watched, workers=2), specs_of(tasks))
    teacher = Rollout(make, ScriptedTeacher("knowing"), workers=2)
    climbs = [each.trajectory for each in Takeover(TakeoverConfig(), [teacher]).run(diverging(failures, detector))]
    assert climbs
    return failures, climbs


def check_tokens(watched: Watched, climbs: Sequence[Trajectory], context: int) -> list[Segment]:
    """Each prefix is, id for id, what the student's model was fed at the step at which the teacher took over."""
    segments, refused = segments_of(climbs, watched.policy.renderer, context)
    assert segments
    assert set(refused) <= {"not verified", "SegmentTooLongError"}
    for segment in segments:
        assert prefix(segment) in watched.prompts
    assert set(map(before_the_last, segments)) <= trained_on(watched.policy.model, segments)
    return segments


@cache
def depot_run(detector: str, limit: int) -> tuple[Watched, list[Trajectory], list[Trajectory]]:
    watched = Watched(depot_student(Sampling(max_new_tokens=limit, batch=5, temperature=1.2)))
    detectors = {
        "error": FirstToolError(),
        "random": RandomStep(),
        "either": Earliest(of=(FirstToolError(), RandomStep())),
    }
    failures, climbs = takeovers(Depot, watched, Depot(gap=0).make_tasks("train", 12), detectors[detector])
    return watched, failures, climbs


@pytest.mark.parametrize(
    ("detector", "limit"), [("error", 64), pytest.param("random", 64, marks=pytest.mark.slow), ("either", 7)]
)
def test_on_depot_the_trainer_feeds_the_prefix_the_student_was_fed(detector, limit):
    watched, failures, climbs = depot_run(detector, limit)
    check_tokens(watched, climbs, 4000)
    statuses = {o.status for each in failures for step in each.steps for o in step.outcomes}
    assert "malformed" in statuses, "the run must hold the hard cases"
    assert {said.finish for said in watched.said} >= ({"stop", "context"} if limit == 64 else {"length", "context"})


def test_turns_that_were_cut_short_stand_in_prefixes_and_are_closed_without_loss():
    watched, _, climbs = depot_run("either", 7)
    segments, _ = segments_of(climbs, watched.policy.renderer, 4000)
    by_trace = {segment.trajectory_id: segment for segment in segments}
    cut = 0
    for climb in climbs:
        if climb.id not in by_trace:
            continue
        segment, at = by_trace[climb.id], 0
        for step in climb.steps[: climb.parent.step if climb.parent else 0]:
            at += len(step.completion.context_ids) + len(step.completion.token_ids)
            if step.completion.finish == "length":
                cut += 1
                assert segment.input_ids[at] == watched.policy.renderer.stop_id
                assert not segment.loss_mask[at]
    assert cut


@pytest.mark.slow
def test_on_repair_the_trainer_feeds_the_prefix_the_student_was_fed(tmp_path):
    with BubblewrapBackend(tmp_path / "sandbox") as backend:

        def make() -> Repair:
            return Repair(gap=0.5, sandboxes=backend)

        maker = make()
        tasks = maker.make_tasks("train", 10)
        maker.close()
        lessons = run_all(
            Rollout(make, ScriptedTeacher("exploring"), workers=2, keep_snapshots=False),
            specs_of(tasks, actor="teacher"),
        )
        config = SMALL.model_copy(update={"context": 900, "vocabulary": 900})
        tokenizer = make_tokenizer(texts_of(lessons), config)
        model = make_student(tokenizer, config, 0)
        rows, _ = segments_of(lessons, Renderer(tokenizer), 900)
        train(model, [Pool(rows, 1.0)], TrainingConfig(steps=60, tokens_per_step=200, learning_rate=1e-2), seed=0)
        watched = Watched(LocalPolicy(model, tokenizer, Sampling(max_new_tokens=40)))
        failures, climbs = takeovers(make, watched, tasks[:6], Earliest(of=(FirstToolError(), RandomStep())))
        check_tokens(watched, climbs, 4000)
        assert any(o.status != "ok" for each in failures for step in each.steps for o in step.outcomes)


def test_a_student_put_back_into_a_state_is_fed_what_it_was_fed_there():
    watched, failures, _ = depot_run("error", 64)
    for trace in failures[:4]:
        step = len(trace.steps) // 2
        again = Watched(watched.policy)
        run_all(Rollout(Depot, again, workers=1), [EpisodeSpec(trace.task, 0, fork=(trace, step), reseed=True)])
        fed = [i for each in trace.steps[:step] for i in (*each.completion.context_ids, *each.completion.token_ids)]
        assert (*fed, *trace.steps[step].completion.context_ids) in again.prompts


def test_a_continuation_carries_loss_on_the_teachers_turns_only():
    watched, _, climbs = depot_run("error", 64)
    renderer = watched.policy.renderer
    segments, _ = segments_of(climbs, renderer, 4000)
    by_id = {each.id: each for each in climbs}
    for segment in segments:
        climb = by_id[segment.trajectory_id]
        assert climb.parent is not None
        own = climb.steps[climb.parent.step :]
        assert all(step.actor == "teacher" for step in own)
        assert all(step.actor == "student" for step in climb.steps[: climb.parent.step])
        assert segment.supervised == sum(renderer.count(step.completion.message) for step in own)


def test_of_a_takeover_from_a_teachers_trace_only_the_new_turns_carry_loss():
    trace = clean_traces()[0]
    renderer = depot_student().renderer
    (kept,) = run_all(Rollout(Depot, ScriptedTeacher(), workers=1), specs_of([trace.task], actor="teacher"))
    spec = EpisodeSpec(trace.task, 1, actor="teacher", fork=(kept, 4))
    (again,) = run_all(Rollout(Depot, ScriptedTeacher(), workers=1), [spec])
    (segment,) = rows_of(again, renderer, SMALL.context)
    assert segment.supervised == sum(renderer.count(step.completion.message) for step in again.steps[4:])


def test_a_row_longer_than_the_context_is_refused_and_one_as_long_is_not():
    renderer = depot_student().renderer
    trace, length = clean_traces()[0], len(clean_segments()[0].input_ids)
    assert rows_of(trace, renderer, length) == [clean_segments()[0]]
    with pytest.raises(SegmentTooLongError, match=f"{length} tokens"):
        rows_of(trace, renderer, length - 1)
    assert segments_of([trace], renderer, length - 1) == ([], {"SegmentTooLongError": 1})


def test_only_verified_traces_become_rows():
    renderer = depot_student().renderer
    good = clean_traces()[0]
    failed = good.model_copy(update={"verdict": good.verdict.model_copy(update={"passed": False})})
    errored = good.model_copy(update={"verdict": None, "ending": "infrastructure_error"})
    rows, refused = segments_of([good, failed, errored], renderer, SMALL.context)
    assert [row.trajectory_id for row in rows] == [good.id]
    assert refused == {"not verified": 1, "infrastructure error": 1}
    assert rows[0].kind == "clean"
