"""The conformance suite fails what it ought to fail: each environment here breaks one promise."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from agentdistill.environment import ToolEnvironment, Truth
from agentdistill.records import Message, Snapshot, Task, ToolCall, Verdict
from agentdistill.testing import check_environment
from agentdistill.tools import tool

LEAKS = itertools.count()


class Counter(ToolEnvironment):
    """Count to the goal and stop; it keeps every promise."""

    step_limit = 12
    state: dict[str, int]

    def make_tasks(self, split: str, count: int, seed: int = 0) -> list[Task]:
        goals = range(2, 5) if split == "train" else range(5, 8)
        tasks = itertools.islice(itertools.cycle(goals), count)
        return [
            Task(id=f"{split}-{n}", environment="counter", instruction=f"Count to {g}.", data={"goal": g}, split=split)
            for n, g in enumerate(tasks)
        ]

    def make_task(self, rng: np.random.Generator) -> Task:
        return self.make_tasks("train", 3)[int(rng.integers(3))]

    def setup(self, task: Task) -> None:
        self.state = {"n": 0}

    @tool
    def add(self, amount: int) -> str:
        """Add an amount."""
        self.state["n"] += amount
        return f"{self.state['n']}, {self.np_random.integers(9)}"

    @tool
    def stop(self) -> str:
        """End."""
        self.end()
        return "stopped"

    def verify(self) -> Verdict:
        passed = self.state["n"] == self.task.data["goal"]
        return Verdict(passed=passed, score=float(passed))

    def truth(self) -> Truth:
        return Truth(cost=2 - (self.state["n"] == self.task.data["goal"]))

    def teach(self, messages: tuple[Message, ...], style: str) -> Message:
        goal = self.task.data["goal"]
        assert isinstance(goal, int)
        missing = goal - self.state["n"]
        call = ("add", {"amount": missing}) if missing else ("stop", {})
        return Message(role="assistant", tool_calls=(ToolCall(id="call_0_0", name=call[0], arguments=call[1]),))


class WarnsInReset(Counter):
    def reset(self, *, seed: int | None = 3, options: dict[str, Any] | None = None) -> Any:
        return super().reset(seed=seed, options=options)


class LuckFromElsewhere(Counter):
    @tool
    def add(self, amount: int) -> str:
        """Add an amount."""
        return f"{amount} {next(LEAKS)}"


class TellsHowLongItTook(Counter):
    @tool
    def add(self, amount: int) -> str:
        """Add an amount."""
        return f"{super().add(amount)} in 0.{next(LEAKS):03}s"


class KeepsStateBeside(Counter):
    def setup(self, task: Task) -> None:
        super().setup(task)
        self.beside = 0

    @tool
    def add(self, amount: int) -> str:
        """Add an amount."""
        self.beside = getattr(self, "beside", 0) + amount
        self.state["n"] += amount
        return str(self.beside)


class RestoresLuckOnly(Counter):
    def restore(self, snapshot: Snapshot, *, task: Task | None = None, reseed: int | None = None) -> None:
        mine = self.state if hasattr(self, "state") else None
        super().restore(snapshot, task=task, reseed=reseed)
        self.state = mine or self.state


class RaisesOnBadCalls(Counter):
    def step(self, action: Message) -> Any:
        assert action.tool_calls[0].name in ("add", "stop")
        return super().step(action)


class EndsOnBadCalls(Counter):
    def step(self, action: Message) -> Any:
        said, reward, _, truncated, info = super().step(action)
        if info["outcomes"][0].status != "ok":
            self.end()
        return said, reward, self._ended, truncated, info


class LazyTeacher(Counter):
    def teach(self, messages: tuple[Message, ...], style: str) -> Message:
        return Message(role="assistant", content="...")


class TeacherOnRails(Counter):
    """Solves from the start, but only plays its record."""

    def teach(self, messages: tuple[Message, ...], style: str) -> Message:
        self_made = [m for m in messages if m.role == "assistant"]
        call = ("stop", {}) if self_made else ("add", {"amount": self.task.data["goal"]})
        return Message(role="assistant", tool_calls=(ToolCall(id="call_0_0", name=call[0], arguments=call[1]),))


class PassesAnything(Counter):
    def verify(self) -> Verdict:
        return Verdict(passed=True, score=1.0)


class SameTasksTwice(Counter):
    def make_tasks(self, split: str, count: int, seed: int = 0) -> list[Task]:
        return [task.model_copy(update={"split": split}) for task in super().make_tasks("train", count)]


class SharesCombinations(Counter):
    def combinations(self, task: Task) -> set[str]:
        return {"counting"}


class Crashes(Counter):
    def truth(self) -> Truth:
        raise ZeroDivisionError("no\ntruth")


def failures(environment: type[ToolEnvironment]) -> dict[str, str]:
    return {check.name: check.detail for check in check_environment(environment) if check.status == "failed"}


def test_an_environment_that_keeps_its_promises_passes() -> None:
    assert failures(Counter) == {}


def test_how_long_something_took_is_not_compared() -> None:
    compared = {
        "same seed, same calls, same episode",
        "a snapshot restores exactly, and forks do not touch each other",
    }
    assert compared.isdisjoint(failures(TellsHowLongItTook))


@pytest.mark.parametrize(
    ("broken", "caught_by"),
    [
        (WarnsInReset, "gymnasium's checker has nothing to say"),
        (LuckFromElsewhere, "same seed, same calls, same episode"),
        (KeepsStateBeside, "a snapshot restores exactly, and forks do not touch each other"),
        (RestoresLuckOnly, "a snapshot restores exactly, and forks do not touch each other"),
        (RaisesOnBadCalls, "bad calls are answered, not raised"),
        (EndsOnBadCalls, "bad calls are answered, not raised"),
        (LazyTeacher, "the teacher solves"),
        (TeacherOnRails, "the teacher recovers wherever that is possible"),
        (PassesAnything, "doing nothing does not pass"),
        (PassesAnything, "ending at once does not pass"),
        (SameTasksTwice, "training and held-out tasks are disjoint"),
        (SharesCombinations, "training and held-out tasks are disjoint"),
    ],
)
def test_a_broken_promise_is_caught(broken: type[ToolEnvironment], caught_by: str) -> None:
    assert caught_by in failures(broken)


def test_a_crash_is_a_failed_check_with_one_line_and_the_others_still_run() -> None:
    found = check_environment(Crashes)
    crashed = [check for check in found if check.status == "failed"]
    assert crashed
    assert all(check.detail == "ZeroDivisionError: no truth" for check in crashed)
    assert any(check.status == "passed" for check in found)


def test_an_environment_that_cannot_be_made_is_one_failed_check() -> None:
    def make() -> ToolEnvironment:
        raise RuntimeError("out of\nluck")

    (check,) = check_environment(make)
    assert (check.status, check.detail) == ("failed", "RuntimeError: out of luck")
