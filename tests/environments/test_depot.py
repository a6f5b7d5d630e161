"""Depot: its truth is the truth, its teacher never wastes a step it cannot spare, its dial does what it says."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest
from agentdistill_environments.depot import BOXES, ITEMS, PLACES, USUAL_SHELF, Depot

from agentdistill.errors import ConfigError, TaskError
from agentdistill.records import Message, Snapshot, Task, ToolCall

SOME_ITEMS, SOME_PLACES, SOME_BOXES = ("bolt", "cup", "fan", "nail"), ("dock", "A", "C"), ("red", "blue", "grey")


def call(name: str, **arguments: Any) -> Message:
    return Message(role="assistant", tool_calls=(ToolCall(id="call_0_0", name=name, arguments=arguments),))


def small_task(lines: list[list[str]]) -> Task:
    """Nothing that matters beyond three places, and one box that is shut: small enough to search exhaustively."""
    where = dict.fromkeys(ITEMS, "C") | {"bolt": "A", "cup": "A"}
    data: dict[str, Any] = {"lines": lines, "where": where, "shut": ["blue"], "slip": 0.0}
    return Task(id="t", environment="depot", instruction="", data=data)


def moves() -> list[Message]:
    going = [call("go", place=place) for place in SOME_PLACES]
    taking = [call("take", item=item) for item in SOME_ITEMS]
    boxing = [call(name, box=box) for name in ("open", "put", "ship") for box in SOME_BOXES]
    return [*going, *taking, *boxing, call("drop")]


def least_steps(env: Depot, start: Snapshot) -> int | None:
    """Breadth-first search over everything one can do with what matters; it knows nothing of `truth`."""
    seen, queue = {start.world_digest}, deque([(start, 0)])
    while queue:
        world, depth = queue.popleft()
        for move in moves():
            env.restore(world.model_copy(update={"steps_taken": 0}))
            info = env.step(move)[4]
            if info["outcomes"][0].status != "ok":
                continue
            if env.over:
                if info["verdict"].passed:
                    return depth + 1
                continue
            after = env.snapshot()
            if after.world_digest not in seen:
                seen.add(after.world_digest)
                queue.append((after, depth + 1))
    return None


@pytest.mark.parametrize("seed", range(4))
def test_truth_is_what_an_exhaustive_search_finds(seed: int) -> None:
    env, rng = Depot(gap=0), np.random.default_rng(seed)
    env.reset(options={"task": small_task([["bolt", "red"], ["cup", "red" if seed % 2 else "blue"]])})
    checked = set()
    while not env.over and env.steps_taken < 12:
        believed, world = env.truth().cost, env.snapshot()
        if believed is None or believed <= 8:
            assert least_steps(env, world) == believed, world.state
            checked.add(believed)
            env.restore(world)
        options = moves() + [env.teach((), "knowing")] * 24
        env.step(options[int(rng.integers(len(options)))])
    assert checked


def play(env: Depot, task: Task, style: str, steps: int = 0) -> tuple[Message, ...]:
    """The conversation of a teacher of this style, or its first steps."""
    messages, _ = env.reset(seed=0, options={"task": task})
    while not env.over and (not steps or env.steps_taken < steps):
        action = env.teach(messages, style)
        messages += (action, *env.step(action)[0])
    return messages


@pytest.mark.parametrize("style", Depot.styles)
def test_the_teacher_wins_with_the_least_steps_that_its_information_allows(style: str) -> None:
    env = Depot(gap=0)
    for task in env.make_tasks("heldout", 20):
        env.reset(options={"task": task})
        least = env.truth().cost
        assert least is not None
        play(env, task, style)
        assert env.verify().passed
        assert env.steps_taken == least + (len(task.data["lines"]) + 1 if style == "exploring" else 0)  # type: ignore[arg-type]


def test_where_nothing_slips_the_knowing_teacher_never_meets_an_error_at_any_gap() -> None:
    env = Depot(gap=1.0, slips=False)
    for task in env.make_tasks("train", 40):
        said = play(env, task, "knowing")
        assert env.verify().passed
        assert not any(message.content.startswith("error") for message in said)


def test_with_just_enough_steps_left_the_exploring_teacher_asks_nothing() -> None:
    env = Depot(gap=0)
    task = env.make_tasks("train", 1)[0]
    env.reset(options={"task": task})
    assert env.teach((), "exploring").tool_calls[0].name == "find"
    env.restore(env.snapshot().model_copy(update={"steps_taken": env.step_limit - (env.truth().cost or 0)}))
    assert env.teach((), "exploring").tool_calls[0].name == "go"


def test_the_exploring_teacher_asks_for_what_the_conversation_has_not_told() -> None:
    env = Depot(gap=0)
    task = env.make_tasks("train", 1)[0]
    item = task.data["lines"][0][0]  # type: ignore[index, call-overload]
    env.reset(options={"task": task})
    for told in (f"error: {item} at B. want {item}", f"{item} rolled to C. want {item}", f"{item} at A. want {item}"):
        said = (Message(role="tool", name="find", content=told),)
        assert env.teach((), "exploring").tool_calls[0].name == "find"
        assert env.teach(said, "exploring").tool_calls[0].name == "go"


def test_the_exploring_teacher_looks_at_the_boxes_once() -> None:
    env = Depot(gap=0.5, slips=False)
    for task in env.make_tasks("train", 20):
        said = play(env, task, "exploring")
        assert sum(message.name == "look" for message in said) <= 1


def test_in_a_calm_world_nothing_slips_and_the_tasks_are_the_same() -> None:
    calm, deployed = Depot(gap=1.0, slips=False), Depot(gap=1.0)
    tasks = calm.make_tasks("train", 5)
    assert tasks == deployed.make_tasks("train", 5)
    walks = {}
    for env in (calm, deployed):
        env.reset(seed=3, options={"task": tasks[0]})
        walks[env] = [env.step(call("go", place=PLACES[n % 7]))[0][0].content for n in range(14)]
    assert walks[calm] == [f"at {PLACES[n % 7]}. want {calm.order.lines[0][0]}" for n in range(14)]
    assert walks[deployed] != walks[calm]


def test_what_is_shut_must_be_opened_and_the_error_says_so() -> None:
    env = Depot(gap=0)
    env.reset(options={"task": small_task([["bolt", "blue"], ["cup", "red"]])})
    for each in (call("go", place="A"), call("take", item="bolt"), call("go", place="dock")):
        env.step(each)
    assert env.step(call("put", box="blue"))[0][0].content == "error: blue is shut. for blue"
    assert env.step(call("open", box="blue"))[0][0].content == "blue open. for blue"
    assert env.step(call("put", box="blue"))[0][0].content == "bolt in blue. ready blue"
    assert env.step(call("open", box="red"))[0][0].content == "error: red is open. ready blue"


def test_at_gap_zero_everything_is_where_the_catalogue_says_and_nothing_slips() -> None:
    for task in Depot(gap=0).make_tasks("train", 50):
        assert task.data["where"] == USUAL_SHELF
        assert task.data["shut"] == []
        assert task.data["slip"] == 0


def test_the_dial_moves_items_and_the_orders_stay_the_same() -> None:
    tasks = {gap: Depot(gap=gap).make_tasks("train", 200) for gap in (0.0, 0.5, 1.0)}
    away = {
        gap: np.mean([[t.data["where"][i] != USUAL_SHELF[i] for i in ITEMS] for t in drawn])  # type: ignore[index, call-overload]
        for gap, drawn in tasks.items()
    }
    assert away[0.0] == 0
    assert 0.13 < away[0.5] < 0.21  # 0.2, of which a sixth is drawn to the usual shelf again
    assert 0.28 < away[1.0] < 0.39
    assert [t.instruction for t in tasks[0.0]] == [t.instruction for t in tasks[1.0]]


def test_the_ith_task_does_not_depend_on_how_many_are_drawn() -> None:
    assert Depot().make_tasks("train", 3) == Depot().make_tasks("train", 9)[:3]
    assert Depot().make_tasks("train", 1, seed=1) != Depot().make_tasks("train", 1)


def test_splits_share_no_item_in_a_box() -> None:
    env = Depot()
    pairs = {s: frozenset().union(*map(env.combinations, env.make_tasks(s, 300))) for s in ("train", "heldout")}
    assert not pairs["train"] & pairs["heldout"]
    assert len(pairs["train"] | pairs["heldout"]) == len(ITEMS) * len(BOXES)


def test_luck_comes_back_with_a_snapshot_and_leaves_with_a_reseed() -> None:
    env = Depot(gap=1.0)
    env.reset(seed=3, options={"task": env.make_tasks("train", 1)[0]})
    start = env.snapshot()
    walks = []
    for reseed in (None, None, 1, 2, 3):
        env.restore(start, reseed=reseed)
        walks.append([env.step(call("go", place=PLACES[n % 7]))[0][0].content for n in range(env.step_limit)])
    assert walks[0] == walks[1]
    assert any(walk != walks[0] for walk in walks[2:])


def test_what_cannot_be_undone_is_lost_for_good() -> None:
    env = Depot(gap=0)
    task = small_task([["cup", "red"], ["bolt", "blue"]])
    for calls in (
        [call("ship", box="red")],
        [call("go", place="A"), call("take", item="cup"), call("drop")],
    ):
        env.reset(options={"task": task})
        for each in calls:
            assert env.truth().cost is not None
            env.step(each)
        assert env.truth().cost is None
        while not env.over:
            env.step(env.teach((), "knowing"))
        assert not env.verify().passed


def test_a_box_with_something_nobody_ordered_in_it_does_not_count() -> None:
    env = Depot(gap=0)
    env.reset(options={"task": small_task([["cup", "red"], ["bolt", "red"]])})
    for each in (
        *(call("go", place="C"), call("take", item="fan"), call("go", place="dock"), call("put", box="red")),
        *(call("go", place="A"), call("take", item="cup"), call("go", place="dock"), call("put", box="red")),
        *(call("go", place="A"), call("take", item="bolt"), call("go", place="dock"), call("put", box="red")),
    ):
        env.step(each)
    assert env.truth().cost == 3
    *_, info = env.step(call("ship", box="red"))
    assert not info["verdict"].passed


def test_wrong_settings_and_tasks_are_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="gap must lie in"):
        Depot(gap=1.5)
    with pytest.raises(TaskError, match="no split 'test'"):
        Depot().make_tasks("test", 1)
    with pytest.raises(TaskError, match="not a Depot task"):
        Depot().reset(options={"task": Task(id="x", environment="", instruction="", data={"lines": 1})})
