"""Rates, and the bank of frozen states: where the first mistake is, by the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agentdistill_environments.depot import ITEMS, Depot
from agentdistill_environments.repair import Repair
from hypothesis import given
from hypothesis import strategies as st
from students import call, clean_traces, depot_student, play, run_all, specs_of, spoiling_edit

from agentdistill.environment import ToolEnvironment
from agentdistill.evaluation import first_mistake, freeze_bank, success_rate
from agentdistill.policies.scripted import ScriptedPolicy, ScriptedTeacher
from agentdistill.records import Message, Task, Trajectory
from agentdistill.results import rate_of
from agentdistill.rollout import Rollout
from agentdistill.sandbox.bubblewrap import BubblewrapBackend

# From R: binom::binom.confint(x, n, methods = "wilson"), rounded to 4 places.
KNOWN = [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (1, 20, 0.0089, 0.2361)]


@pytest.mark.parametrize(("passed", "n", "low", "high"), [*KNOWN, (60, 300, 0.1586, 0.2489)])
def test_wilson_intervals_are_the_known_ones(passed, n, low, high):
    rate = rate_of(passed, n)
    assert (rate.rate, rate.n) == (passed / n, n)
    assert (rate.low, rate.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_rate_and_stays_in_the_unit_interval(case):
    rate = rate_of(*case)
    assert 0 <= rate.low <= rate.rate <= rate.high <= 1
    mirrored = rate_of(case[1] - case[0], case[1])
    assert mirrored.low == pytest.approx(1 - rate.high)


def test_of_nothing_judged_nothing_is_known():
    assert rate_of(0, 0).model_dump() == {"rate": 0.0, "low": 0.0, "high": 1.0, "n": 0}


def test_errored_episodes_are_in_no_rate():
    good = clean_traces()[0]
    bad = good.model_copy(update={"verdict": good.verdict.model_copy(update={"passed": False})})
    errored = good.model_copy(update={"ending": "infrastructure_error", "verdict": None})
    assert success_rate([good, bad, errored, errored]) == rate_of(1, 2)


# ---- the bank --------------------------------------------------------------------------------------------------------


def depot_task() -> Task:
    where = dict.fromkeys(ITEMS, "C") | {"bolt": "A", "cup": "A"}
    data: dict[str, Any] = {"lines": [["bolt", "red"], ["cup", "blue"]], "where": where, "slip": 0.0}
    return Task(id="t", environment="depot", instruction="ship: bolt red, cup blue", data=data)


def done(make: Callable[[], ToolEnvironment], task: Task, *turns: Message) -> Trajectory:
    """An episode that takes these turns and then waits until its steps are over."""
    policy = ScriptedPolicy(
        lambda request: [*turns, call("look")][
            min(len(turns), sum(each.role == "assistant" for each in request.messages))
        ]
    )
    (trace,) = run_all(Rollout(make, policy, workers=1), specs_of([task]))
    return trace


def with_arguments(message: Message, **changes: str) -> Message:
    (said,) = message.tool_calls
    return message.model_copy(update={"tool_calls": (said.model_copy(update={"arguments": said.arguments | changes}),)})


go_a, take_bolt, go_dock = call("go", place="A"), call("take", item="bolt"), call("go", place="dock")


@pytest.mark.parametrize(
    ("turns", "step", "lost"),
    [
        ((call("go", place="B"),), 1, False),
        ((go_a, call("take", item="cable")), 2, False),
        ((go_a, call("go", place="nowhere")), 2, False),
        ((go_a, Message(role="assistant", content="hm")), 2, False),
        ((call("look"), call("find", item="bolt"), go_a, take_bolt, go_dock, call("put", box="green")), 6, False),
        ((go_a, call("take", item="cup"), call("drop")), 3, True),
        ((call("ship", box="red"),), 1, True),
    ],
)
def test_on_depot_the_first_mistake_is_where_it_plainly_is(turns, step, lost):
    trace, environment = done(Depot, depot_task(), *turns), Depot()
    found, truth = first_mistake(trace, environment)
    assert found == step
    assert truth is not None
    assert (truth.cost is None) == lost
    bank = freeze_bank([trace], Depot)
    assert (len(bank.states), bank.fatal, bank.unseen) == ((0, 1, 0) if lost else (1, 0, 0))


def test_who_only_looks_around_makes_no_mistake_before_time_is_up():
    found, truth = first_mistake(done(Depot, depot_task()), Depot())
    assert found == Depot.step_limit
    assert truth is not None
    assert freeze_bank([done(Depot, depot_task())], Depot).fatal == 1


def test_what_a_knowing_teacher_does_is_no_mistake():
    for trace in play(lambda: Depot(gap=0), ScriptedTeacher("knowing"), 5):
        assert first_mistake(trace, Depot(gap=0)) == (None, None)


def test_a_state_too_late_to_be_won_is_left_out():
    # The wrong walk comes when too few steps are left for all there is to do.
    late = done(Depot, depot_task(), *[call("look")] * (Depot.step_limit - 3), call("go", place="B"))
    bank = freeze_bank([late], Depot)
    assert (len(bank.states), bank.fatal, bank.unseen) == (0, 1, 0)


def test_a_run_without_snapshots_cannot_be_frozen():
    trace = done(Depot, depot_task(), call("go", place="B"))
    blind = [step.model_copy(update={"snapshot": None}) for step in trace.steps]
    bank = freeze_bank([trace.model_copy(update={"steps": tuple(blind)})], Depot)
    assert (len(bank.states), bank.unseen) == (0, 1)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[BubblewrapBackend]:
    with BubblewrapBackend(tmp_path / "sandbox") as backend:
        yield backend


@pytest.mark.parametrize(
    "mistake", ["missing path", "failed edit", "wrong edit", "early submit", "delete", "idle text"]
)
def test_on_repair_the_first_mistake_is_where_it_plainly_is(backend, mistake):
    def make() -> Repair:
        return Repair(gap=0.0, sandboxes=backend)

    maker = make()
    (task,) = maker.make_tasks("train", 1)
    maker.close()
    path = str(task.data["path"])
    opened = call("open", path=path)
    turns, lost = {
        "missing path": ((call("open", path="src/none.py"),), False),
        "failed edit": ((opened, with_arguments(spoiling_edit(task), old="no such text")), False),
        "wrong edit": ((opened, spoiling_edit(task)), False),
        "early submit": ((opened, call("submit")), True),
        "delete": ((opened, call("delete", path=path)), True),
        "idle text": ((opened, Message(role="assistant", content="done")), False),
    }[mistake]
    trace = done(make, task, *turns, *[call("list")] * 12)
    environment = make()
    found, truth = first_mistake(trace, environment)
    environment.close()
    assert found == len(turns)
    if mistake == "wrong edit":
        assert [outcome.status for outcome in trace.steps[1].outcomes] == ["ok"]
    assert truth is not None
    assert (truth.cost is None) == lost


@pytest.mark.parametrize("looking", ["test", "open another file", "list", "search"])
def test_on_repair_looking_around_is_no_mistake(backend, looking):
    def make() -> Repair:
        return Repair(gap=0.0, sandboxes=backend)

    maker = make()
    (task,) = maker.make_tasks("train", 1)
    maker.close()
    path, function = str(task.data["path"]), task.data["function"]
    other = next(str(each) for each in task.data["files"] if each.startswith("tests") and each.endswith(".py"))
    look = {
        "test": call("test"),
        "open another file": call("open", path=other),
        "list": call("list"),
        "search": call("search", text=function),
    }[looking]
    wrong = spoiling_edit(task)
    trace = done(make, task, look, call("open", path=path), wrong, *[call("list")] * 12)
    environment = make()
    found, _ = first_mistake(trace, environment)
    environment.close()
    assert found == 3


def test_equal_banks_have_equal_digests_and_anything_else_has_another():
    failures = [each for each in play(lambda: Depot(gap=0), depot_student(), 12) if each.failed]
    bank = freeze_bank(failures, Depot)
    assert len(bank.states) >= 3
    assert freeze_bank(failures[::-1], Depot).digest == bank.digest
    assert freeze_bank(failures[1:], Depot).digest != bank.digest or len(
        freeze_bank(failures[1:], Depot).states
    ) == len(bank.states)
    (trace, divergence), *rest = bank.states
    states = [
        ((trace, divergence.model_copy(update={"step": divergence.step + 1})), *rest),
        ((trace.model_copy(update={"task": rest[0][0].task}), divergence), *rest),
        tuple(rest),
    ]
    digests = {bank.digest, *(type(bank)(each, 0, 0).digest for each in states)}
    assert len(digests) == 4


def test_a_bank_can_be_climbed_out_of_by_who_knows_how():
    failures = [each for each in play(lambda: Depot(gap=0), depot_student(), 12) if each.failed]
    bank = freeze_bank(failures, lambda: Depot(gap=0))
    climbs = run_all(Rollout(lambda: Depot(gap=0), ScriptedTeacher(), workers=1), list(bank.specs(0)))
    assert success_rate(climbs) == rate_of(len(bank.states), len(bank.states))
    assert [each.seed for each in bank.specs(0)] == [each.seed for each in bank.specs(0)]
    assert [each.seed for each in bank.specs(0)] != [each.seed for each in bank.specs(1)]
