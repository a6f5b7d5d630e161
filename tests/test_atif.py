"""ATIF: what is written is read back as it was, and what others wrote is read as far as we can hold it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from atif_documents import BROKEN, VERSIONS, foreign
from hypothesis import given, settings
from hypothesis import strategies as st
from test_records import JSON, KEYED, NUMBER, OUTCOMES, SNAPSHOTS, TASKS, TEXT, VERDICTS, tuples
from traces import real, trajectory_of

from agentdistill.errors import UsageError
from agentdistill.formats.atif import load_atif, read_atif, write_atif
from agentdistill.records import (
    Completion,
    Fork,
    Message,
    Recovery,
    Step,
    ToolCall,
    ToolSpec,
    Trajectory,
)

# Few different ids, so that answers meet calls; whole turns as environments make them, and whatever a record may hold.
IDS = st.sampled_from(["", "a", "b"])
CALLS = st.builds(ToolCall, id=IDS, name=IDS, arguments=KEYED, problem=st.just("") | TEXT)
MESSAGES = st.builds(
    Message,
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    content=TEXT,
    reasoning=st.just("") | TEXT,
    tool_calls=tuples(CALLS, most=2),
    tool_call_id=st.none() | IDS,
    name=st.none() | IDS,
)
TOKENS = tuples(st.integers(0, 3), most=4)
COMPLETIONS = st.builds(
    Completion,
    message=MESSAGES,
    token_ids=TOKENS,
    context_ids=TOKENS,
    logprobs=tuples(NUMBER | st.just(float("-inf")), most=4),
    input_tokens=st.integers(0, 9),
    output_tokens=st.integers(0, 9),
    finish=st.sampled_from(["stop", "length", "context"]),
    model=st.just("") | TEXT,
    inferred=st.booleans(),
    fresh=st.booleans(),
    by=st.sampled_from([None, "student", "teacher"]),
    mistaken=st.booleans(),
)
STEPS = st.builds(
    Step,
    actor=st.sampled_from(["student", "teacher"]),
    completion=COMPLETIONS,
    observations=tuples(MESSAGES),
    outcomes=tuples(OUTCOMES, most=1),
    signals=KEYED,
    reward=NUMBER,
    snapshot=st.none() | SNAPSHOTS,
)
TRAJECTORIES = st.builds(
    Trajectory,
    id=TEXT,
    task=TASKS,
    policy=TEXT,
    seed=st.integers(0, 2**63 - 1),
    opening=tuples(MESSAGES),
    tools=tuples(st.builds(ToolSpec, name=TEXT, description=TEXT, parameters=KEYED), most=1),
    start=st.none() | SNAPSHOTS,
    steps=tuples(STEPS, most=3),
    ending=st.sampled_from(["submitted", "step_limit", "context_limit", "paused", "infrastructure_error"]),
    verdict=st.none() | VERDICTS,
    error=TEXT,
    parent=st.none() | st.builds(Fork, trajectory_id=TEXT, step=st.integers(0, 4)),
)
KINDS = list(real())
FORKED = [kind for kind, record in real().items() if trajectory_of(record).parent]


def through_json(record: Trajectory | Recovery) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(write_atif(record), allow_nan=False))
    return document


def ours(step: dict[str, Any]) -> dict[str, Any]:
    return step.get("extra", {}).get("agentdistill", {})


@settings(max_examples=50)
@given(TRAJECTORIES)
def test_whatever_a_trajectory_holds_comes_back(trajectory):
    assert read_atif(through_json(trajectory)) == trajectory


@pytest.mark.parametrize("kind", KINDS)
def test_a_real_one_comes_back(kind):
    assert read_atif(through_json(real()[kind])) == trajectory_of(real()[kind])


def test_the_real_ones_are_what_they_are_called():
    made = {kind: trajectory_of(record) for kind, record in real().items()}
    assert made["solved"].succeeded
    assert made["failed"].failed
    assert made["errored"].errored
    assert len(made["errored"].steps) == 3
    assert made["after"].succeeded
    assert made["paused"].paused
    assert [step.actor for step in made["handed back"].steps][3:7] == ["student", "teacher", "teacher", "student"]
    assert made["not restored"].errored
    assert {outcome.status for step in made["failed"].steps for outcome in step.outcomes} >= {
        "ok",
        "malformed",
        "unknown_tool",
        "bad_argument",
    }


# ---- what others see -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_step_is_the_system_prompt_and_the_tools_are_all_there(kind):
    document, trajectory = through_json(real()[kind]), trajectory_of(real()[kind])
    first = document["steps"][0]
    assert first["source"] == "system"
    prompt = [message.content for message in trajectory.opening if message.role == "system"]
    assert first["message"] == (prompt[0] if prompt else "")
    told = [each["function"] for each in document["agent"]["tool_definitions"]]
    assert told == [tool.model_dump(mode="json") for tool in trajectory.tools]
    assert len(told) > 3


@pytest.mark.parametrize("kind", [kind for kind in FORKED if kind != "not restored"])
def test_who_trains_on_what_is_not_copied_trains_on_the_teacher_alone(kind):
    document, trajectory = through_json(real()[kind]), trajectory_of(real()[kind])
    agents = [step for step in document["steps"] if step["source"] == "agent"]
    trained = [step for step in agents if not step.get("is_copied_context")]
    assert [step["model_name"] for step in trained] == ["scripted-knowing"] * len(trained)
    assert {step["model_name"] for step in agents if step.get("is_copied_context")} <= {"weak"}
    said = [step.completion.message.content for step in trajectory.steps if step.actor == "teacher"]
    assert [step["message"] for step in trained] == said
    assert trained


@pytest.mark.parametrize("kind", FORKED)
def test_one_system_step_says_where_the_world_was_restored(kind):
    document, trajectory = through_json(real()[kind]), trajectory_of(real()[kind])
    fork, steps = trajectory.parent, document["steps"]
    (at,) = [number for number, step in enumerate(steps) if "restore" in ours(step)]
    assert steps[at]["source"] == "system"
    assert steps[at]["message"] == ""
    assert all(step["is_copied_context"] for step in steps[:at])
    turns = [step for step in steps[:at] if step["source"] == "agent"]
    about = document["extra"]["agentdistill"]
    restored = kind != "not restored"
    assert len(turns) == (fork.step if restored else 0)
    assert (about["parent_trajectory_id"], about["takeover_step"]) == (fork.trajectory_id, fork.step)
    assert about["restore"] == ours(steps[at])["restore"] == {"method": "snapshot", "verified": restored}
    world = trajectory.world(fork.step) if restored else None
    assert about.get("snapshot_id") == (world.world_digest if world else None)
    (told,) = steps[at]["observation"]["results"]
    assert fork.trajectory_id in told["content"]
    assert "teacher" not in told["content"]


def test_a_takeover_is_its_own_document_in_the_session_of_the_run_it_left():
    failed, after = through_json(real()["failed"]), through_json(real()["after"])
    assert failed["session_id"] == failed["trajectory_id"] == after["session_id"]
    assert after["trajectory_id"] != failed["trajectory_id"]
    assert "notes" in after
    assert "notes" not in failed
    assert (failed["extra"]["agentdistill"]["reward"], after["extra"]["agentdistill"]["reward"]) == (0.0, 1.0)
    assert through_json(real()["errored"])["extra"]["agentdistill"]["reward"] is None


def test_a_recovery_tells_its_divergence_and_costs_and_nothing_that_was_told_in_private():
    record = real()["told in private"]
    assert isinstance(record, Recovery)
    assert record.note
    document = through_json(record)
    told = document["extra"]["agentdistill"]["recovery"]
    assert told["divergence"] == record.divergence.model_dump(mode="json")
    assert told["teacher_tokens"] == record.teacher_tokens > 0
    assert set(told) == set(Recovery.model_fields) - {"trajectory", "note", "others"}
    text = json.dumps(document, ensure_ascii=False)
    assert not any(line in text for line in record.note.splitlines() if len(line) > 20)


def test_a_malformed_call_is_written_with_its_problem():
    document = through_json(real()["failed"])
    problems = [
        call["extra"]["agentdistill"]["problem"]
        for step in document["steps"]
        for call in step.get("tool_calls", [])
        if "extra" in call
    ]
    assert problems == ["the arguments of the call are not valid JSON (Expecting value)"]


def turn(number: int, **completion: Any) -> Step:
    said = Message(role="assistant", content=f"turn {number}")
    return Step(actor="student", completion=Completion(message=said, **completion), observations=())


def sampled(*turns: Step, **rest: Any) -> Trajectory:
    spec = real()["failed"]
    assert isinstance(spec, Trajectory)
    return spec.model_copy(update={"steps": turns, "verdict": None, **rest})


def test_the_prompt_of_each_turn_is_all_that_its_model_was_fed():
    one = turn(1, context_ids=(1, 2, 3), token_ids=(4, 5), logprobs=(-0.5, -0.25))
    untold = turn(2)
    two = turn(3, context_ids=(6,), token_ids=(7,), logprobs=(-1.0,))
    fresh = turn(4, context_ids=(1, 9), token_ids=(8,), fresh=True)
    trajectory = sampled(one, untold, two, fresh)
    document = through_json(trajectory)
    metrics = [step.get("metrics", {}) for step in document["steps"] if step["source"] == "agent"]
    assert [each.get("prompt_token_ids") for each in metrics] == [[1, 2, 3], None, [1, 2, 3, 4, 5, 6], [1, 9]]
    assert [each.get("completion_token_ids") for each in metrics] == [[4, 5], None, [7], [8]]
    assert [each.get("logprobs") for each in metrics] == [[-0.5, -0.25], None, [-1.0], None]
    assert "context_ids" not in json.dumps(document)
    assert read_atif(document) == trajectory


def test_a_turn_that_was_mistaken_on_purpose_is_marked_as_context():
    document = through_json(sampled(turn(1, mistaken=True), turn(2)))
    agents = [step for step in document["steps"] if step["source"] == "agent"]
    assert [step.get("is_copied_context") for step in agents] == [True, None]


def test_a_secret_is_written_nowhere_nor_spelt_in_ids(monkeypatch):
    monkeypatch.setenv("SHOP_TOKEN", 'open"sésame-42')
    spoken = turn(1, context_ids=(1,), token_ids=(2,), logprobs=(-1.0,))
    message = Message(role="assistant", tool_calls=(ToolCall(id="c", name="go", arguments={"n": 'open"sésame-42'}),))
    acted = turn(2).model_copy(update={"completion": Completion(message=message), "signals": {'open"sésame-42': 1}})
    document = through_json(sampled(spoken, acted))
    text = json.dumps(document, ensure_ascii=False)
    assert "sésame-42" not in text
    assert "[redacted:SHOP_TOKEN]" in text
    (metrics,) = [step["metrics"] for step in document["steps"] if "metrics" in step]
    assert metrics["completion_token_ids"] == metrics["prompt_token_ids"] == metrics["logprobs"] == []
    assert read_atif(document).steps[0].completion.token_ids == ()


def test_a_secret_that_is_a_word_of_the_format_is_told(monkeypatch):
    monkeypatch.setenv("SHOP_TOKEN", "trajectory_id")
    with pytest.raises(UsageError, match="a secret in the environment is a word"):
        write_atif(sampled(turn(1)))


def test_half_characters_are_made_whole():
    document = through_json(sampled(turn(1), error="half \ud83d of it"))
    assert read_atif(document).error == "half \ufffd of it"
    json.dumps(document, ensure_ascii=False).encode()


# ---- documents of others ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_is_read(version):
    trajectory = read_atif(foreign(schema_version=version))
    assert [message.role for message in trajectory.messages()] == [
        "system",
        "user",
        "assistant",
        "tool",
        "tool",
        "user",
        "assistant",
    ]
    first, second = trajectory.steps
    assert first.completion.message.tool_calls[0] == ToolCall(id="c1", name="run", arguments={"command": "ls"})
    assert first.observations[0] == Message(role="tool", content="a.py", tool_call_id="c1", name="run")
    assert first.observations[1] == Message(role="tool", content="reset")
    assert (first.completion.model, second.completion.model) == ("big", "small")
    assert (first.completion.input_tokens, first.completion.output_tokens) == (12, 3)
    assert trajectory.tools == (ToolSpec(name="run", description="Run it.", parameters={"type": "object"}),)
    assert trajectory.task.instruction == "Fix it."
    assert trajectory.paused
    assert not trajectory.failed


def test_one_without_an_id_is_told_from_others_of_its_session():
    one, other = foreign(trajectory_id=None), foreign(trajectory_id=None)
    other["steps"][0]["message"] = "Another prompt."
    found = [read_atif(each).id for each in (one, other, one)]
    assert found[0] == found[2] != found[1]
    assert all(each.startswith("run-1-") for each in found)
    del one["session_id"]
    assert read_atif(one).id


def test_text_in_parts_is_read_as_text():
    document = foreign()
    document["steps"][1]["message"] = [{"type": "text", "text": "Fix "}, {"type": "text", "text": "it."}]
    document["steps"][2]["observation"]["results"][0]["content"] = [{"type": "text", "text": "a.py"}]
    assert read_atif(document) == read_atif(foreign())


def test_copied_context_and_what_no_model_said_is_heard_and_not_learnt():
    document = foreign()
    document["steps"][2]["is_copied_context"] = True
    trajectory = read_atif(document)
    assert trajectory.messages() == read_atif(foreign()).messages()
    assert [step.completion.message.content for step in trajectory.steps] == ["Done."]
    del document["steps"][2]["metrics"], document["steps"][2]["reasoning_content"]
    document["steps"][2] |= {"is_copied_context": False, "llm_call_count": 0}
    assert len(read_atif(document).steps) == 1
    document["steps"][2]["llm_call_count"] = 3
    assert len(read_atif(document).steps) == 2
    document["steps"][4]["is_copied_context"] = True
    assert [message.role for message in read_atif(document).steps[-1].observations][-1] == "assistant"


def test_ids_are_taken_where_those_of_the_prompt_are_told_too():
    document = foreign()
    document["steps"][2]["metrics"] |= {"completion_token_ids": [4], "logprobs": [-1.0]}
    completion = read_atif(document).steps[0].completion
    assert (completion.token_ids, completion.logprobs, completion.output_tokens) == ((), (), 3)
    document["steps"][2]["metrics"]["prompt_token_ids"] = [1, 2]
    completion = read_atif(document).steps[0].completion
    assert (completion.context_ids, completion.token_ids, completion.logprobs) == ((1, 2), (4,), (-1.0,))


def test_what_a_subagent_did_is_a_document_of_its_own():
    document = foreign()
    inner = foreign(trajectory_id="sub")
    reference = {"trajectory_id": "sub", "session_id": "run-1"}
    document["subagent_trajectories"] = [inner]
    document["steps"][2]["observation"]["results"][1] = {"subagent_trajectory_ref": [reference]}
    assert read_atif(document).steps[0].observations[1].content == ""
    assert read_atif(document["subagent_trajectories"][0]) == read_atif(inner)
    del reference["trajectory_id"]  # as until 1.6
    assert read_atif(document | {"schema_version": "ATIF-v1.4"})


def test_tools_are_read_in_the_forms_that_people_write():
    bare = {"name": "run", "description": "Run it.", "input_schema": {"type": "object"}}
    document = foreign()
    document["agent"]["tool_definitions"] = [bare]
    assert read_atif(document).tools == read_atif(foreign()).tools
    del document["agent"]["tool_definitions"]
    assert read_atif(document).tools == ()


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_document_is_told_in_one_line_that_names_the_key(what):
    spoil, key = BROKEN[what]
    document = spoil(copy.deepcopy(foreign()))
    with pytest.raises(UsageError) as caught:
        read_atif(document, "runs/a.json")
    told = str(caught.value)
    assert told.startswith("runs/a.json: ")
    assert key in told
    assert "\n" not in told
    assert len(told) < 220


@settings(max_examples=60)
@given(st.data())
def test_no_document_ends_in_anything_but_a_trajectory_or_one_line(data):
    document: Any = through_json(real()["after"]) if data.draw(st.booleans()) else foreign()
    place = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            place[key] = data.draw(JSON)
            break
        place = inner
    try:
        trajectory = read_atif(document)
    except UsageError as error:
        told = str(error)
    else:
        told = ""
        assert read_atif(through_json(trajectory)) == trajectory
    assert "\n" not in told


# ---- files -----------------------------------------------------------------------------------------------------------


def test_files_hold_one_document_or_one_on_each_line(tmp_path: Path):
    written = [write_atif(record) for record in real().values()]
    (tmp_path / "one.json").write_text(json.dumps(written[0], indent=2))
    (tmp_path / "all.jsonl").write_text("\n".join(json.dumps(each, ensure_ascii=False) for each in written) + "\n")
    assert list(load_atif(tmp_path / "one.json")) == [trajectory_of(real()[KINDS[0]])]
    assert list(load_atif(tmp_path / "all.jsonl")) == [trajectory_of(each) for each in real().values()]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"schema_version": ', "is not JSON"),
        ('{"schema_version": "ATIF-v1.9"}', "'ATIF-v1.9', which is not known"),
        ("[" * 100_000, "is not JSON"),
        ("9" * 5000, "is not JSON"),
    ],
)
def test_a_broken_line_is_told_by_its_number(tmp_path: Path, line, told):
    (tmp_path / "all.jsonl").write_text(json.dumps(foreign()) + "\n\n" + line + "\n")
    with pytest.raises(UsageError, match=told) as caught:
        list(load_atif(tmp_path / "all.jsonl"))
    assert str(caught.value).startswith(f"{tmp_path / 'all.jsonl'}:3")


def test_a_file_that_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(UsageError, match=r"none\.json cannot be read"):
        list(load_atif(tmp_path / "none.json"))
