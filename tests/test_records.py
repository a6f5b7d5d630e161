"""Records: frozen, the same after JSON, unknown keys refused. Attacked with whatever hypothesis makes."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agentdistill import records
from agentdistill.records import (
    Completion,
    Divergence,
    Fork,
    Message,
    Record,
    Recovery,
    Segment,
    Snapshot,
    Step,
    Task,
    ToolCall,
    ToolOutcome,
    ToolSpec,
    Trajectory,
    Verdict,
    derive_seed,
    digest_of,
)

# Surrogates cannot be written as UTF-8; text from a sandbox is made valid before it becomes a record.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
KEYED = st.dictionaries(TEXT, JSON, max_size=3)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)


def tuples(of: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, max_size=most).map(tuple)


CALLS = st.builds(ToolCall, id=TEXT, name=TEXT, arguments=KEYED, problem=TEXT)
MESSAGES = st.builds(
    Message,
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    content=TEXT,
    tool_calls=tuples(CALLS),
    tool_call_id=st.none() | TEXT,
)
TASKS = st.builds(Task, id=TEXT, environment=TEXT, instruction=TEXT, data=KEYED, split=TEXT)
SNAPSHOTS = st.builds(Snapshot, state=JSON, sandbox=st.none() | TEXT, rng=JSON, steps_taken=st.integers(0, 99))
COMPLETIONS = st.builds(
    Completion, message=MESSAGES, token_ids=tuples(st.integers(0, 1 << 20)), logprobs=tuples(NUMBER)
)
OUTCOMES = st.builds(ToolOutcome, call_id=TEXT, tool=TEXT, status=st.sampled_from(["ok", "malformed", "timeout"]))
STEPS = st.builds(
    Step,
    actor=st.sampled_from(["student", "teacher"]),
    completion=COMPLETIONS,
    observations=tuples(MESSAGES),
    outcomes=tuples(OUTCOMES),
    signals=KEYED,
    reward=NUMBER,
    snapshot=st.none() | SNAPSHOTS,
)
VERDICTS = st.builds(Verdict, passed=st.booleans(), score=st.floats(0, 1), detail=TEXT)
TRAJECTORIES = st.builds(
    Trajectory,
    id=TEXT,
    task=TASKS,
    policy=TEXT,
    seed=st.integers(0, 2**63 - 1),
    opening=tuples(MESSAGES),
    tools=tuples(st.builds(ToolSpec, name=TEXT, description=TEXT, parameters=KEYED), most=1),
    start=st.none() | SNAPSHOTS,
    steps=tuples(STEPS, most=2),
    ending=st.sampled_from(["submitted", "step_limit", "context_limit", "infrastructure_error"]),
    verdict=st.none() | VERDICTS,
    parent=st.none() | st.builds(Fork, trajectory_id=TEXT, step=st.integers(0, 9)),
)
DIVERGENCES = st.builds(Divergence, trajectory_id=TEXT, step=st.integers(1, 9), reason=TEXT, detector=TEXT)
RECOVERIES = st.builds(Recovery, divergence=DIVERGENCES, trajectory=TRAJECTORIES, teacher_tokens=st.integers(0, 99))
SEGMENTS = st.builds(
    Segment,
    id=TEXT,
    kind=st.sampled_from(["clean", "recovery"]),
    trajectory_id=TEXT,
    input_ids=tuples(st.integers(0, 999)),
    loss_mask=tuples(st.booleans()),
)


@settings(max_examples=80, deadline=None)
@given(st.one_of(RECOVERIES, SEGMENTS))
def test_a_record_is_the_same_after_json(record: Record) -> None:
    assert type(record).model_validate_json(record.model_dump_json()) == record
    assert type(record).model_validate(record.model_dump(mode="json")) == record


KINDS = [kind for _, kind in inspect.getmembers(records, inspect.isclass) if issubclass(kind, Record)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_record_refuses_unknown_keys_and_cannot_be_changed(kind: type[Record]) -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        kind.model_validate({"no_such_key": 1})
    empty = kind.model_construct()
    with pytest.raises(ValidationError, match="frozen"):
        setattr(empty, next(iter(kind.model_fields), "x"), 1)


@given(TASKS, TEXT, TEXT)
def test_the_content_hash_says_what_is_to_be_done_and_not_where_it_stands(task: Task, other_id: str, text: str) -> None:
    assert task.model_copy(update={"id": other_id, "split": text}).content_hash == task.content_hash
    changed = task.model_copy(update={"instruction": text})
    assert (changed.content_hash == task.content_hash) == (text == task.instruction)


@given(SNAPSHOTS)
def test_the_world_digest_leaves_out_time_and_luck(snapshot: Snapshot) -> None:
    later = snapshot.model_copy(update={"steps_taken": 5, "rng": {"other": 1}})
    assert later.world_digest == snapshot.world_digest
    assert snapshot.model_copy(update={"state": [snapshot.state]}).world_digest != snapshot.world_digest


def test_a_digest_does_not_depend_on_the_order_of_keys_and_a_seed_not_on_the_process() -> None:
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
    code = "from agentdistill.records import derive_seed; print(derive_seed('a', 1))"
    for hash_seed in ("1", "2"):
        found = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True
        )
        assert int(found.stdout) == derive_seed("a", 1)


@given(st.lists(TEXT | st.integers(0, 9), min_size=1, max_size=4))
def test_a_derived_seed_is_a_seed(parts: list[str | int]) -> None:
    assert 0 <= derive_seed(*parts) < 2**63


def test_a_trajectory_gives_conversation_and_world_after_any_step() -> None:
    def step(n: int) -> Step:
        said = Message(role="assistant", content=f"a{n}")
        heard = (Message(role="tool", content=f"t{n}"),)
        return Step(
            actor="student" if n < 2 else "teacher",
            completion=Completion(message=said, output_tokens=10 * n),
            observations=heard,
            snapshot=Snapshot(state=n),
        )

    whole = Trajectory(
        id="x",
        task=Task(id="t", environment="e", instruction="i"),
        policy="p",
        seed=0,
        opening=(Message(role="user", content="go"),),
        start=Snapshot(state=0),
        steps=(step(1), step(2), step(3)),
        ending="submitted",
        parent=Fork(trajectory_id="y", step=1),
    )
    assert [m.content for m in whole.messages(1)] == ["go", "a1", "t1"]
    assert len(whole.messages()) == 7
    assert [w.state for w in map(whole.world, range(4)) if w] == [0, 1, 2, 3]
    assert (whole.tokens("teacher"), whole.tokens("student")) == (50, 0)  # the copied prefix is not counted again
    assert whole.failed
    assert not whole.succeeded
    assert not whole.model_copy(update={"ending": "infrastructure_error"}).failed
