"""Detectors that try it out: restore the world at steps the student visited, and see who still succeeds from there.

They read verdicts and lengths of continuations, never the environment's truth; what they find is as good as whoever
goes on. All need snapshots.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from agentdistill.divergence.base import Probes, Settings
from agentdistill.records import Actor, Divergence, Trajectory


class LastRecoverable(Settings):
    """The step after the last world from which it is still won, found by bisection over the snapshots.

    It is taken that what is lost stays lost. Cost: at most ⌈log2 n⌉ + 1 worlds are probed for n steps, each with up to
    `tries` continuations to the end (of the teacher, or without teacher calls of the student).
    """

    actor: Actor = "teacher"
    """Who goes on: the `teacher`, or the `student` itself."""
    tries: int = Field(default=1, ge=1)
    """Continuations from one world until one succeeds."""

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The first step that is not recoverable; `None` if not even the start was."""
        good, lost = -1, len(trajectory.steps)  # the run failed, so its end is lost
        while lost - good > 1:
            middle = (good + lost) // 2
            if self.recoverable(trajectory, middle, probes):
                good = middle
            else:
                lost = middle
        if good < 0:
            return None
        return self.found(trajectory, lost, "last recoverable state", f"the {self.actor} still succeeds after {good}")

    def recoverable(self, trajectory: Trajectory, step: int, probes: Probes) -> bool:
        """Whether anybody who goes on after `step` steps succeeds: one probe."""
        return any(
            probes.continue_from(trajectory, step, self.actor)[0].succeeded for _ in range(self.tries)
        )  # one after the other: the first success is enough


class StudentValue(Settings):
    """Where the student's own chance collapses: the share of its continuations that succeed, from worlds it left.

    With the whole search, the divergence is the one change from a higher to a lower chance that explains the shares of
    all worlds best (least squares), so that one lucky continuation does not move it: n times `tries` continuations.
    By bisection it is the step after which less than half of the chance at the start is left: about log2 n times
    `tries`. No teacher calls either way. The Monte-Carlo value of STeCa (2502.14276) and IPR (2406.11176), without an
    expert to compare with.
    """

    tries: int = Field(default=4, ge=1)
    """Continuations of the student from each world."""
    search: Literal["all", "bisection"] = "all"
    """Which worlds are tried: all that it left, or as many as a bisection needs."""

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The step at which the chance falls; `None` if the student never succeeds from anywhere it was tried."""
        return self._bisect(trajectory, probes) if self.search == "bisection" else self._fit(trajectory, probes)

    def _fit(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        shares = [self._share(trajectory, step, probes) for step in range(len(trajectory.steps))]
        shares.append(0.0)  # the run itself failed
        drop, step = max(((_explained(shares, at), -at) for at in range(1, len(shares))), default=(0.0, 0))
        if drop <= 0:
            return None
        at = -step
        return self._fallen(trajectory, at, _mean(shares[:at]), _mean(shares[at:]))

    def _bisect(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        first = before = self._share(trajectory, 0, probes)
        after = 0.0  # the run itself failed
        good, lost = 0, len(trajectory.steps)
        while first and lost - good > 1:
            middle = (good + lost) // 2
            share = self._share(trajectory, middle, probes)
            if share * 2 >= first:
                good, before = middle, share
            else:
                lost, after = middle, share
        return self._fallen(trajectory, lost, before, after) if first else None

    def _share(self, trajectory: Trajectory, step: int, probes: Probes) -> float:
        """The share of the student's continuations after `step` steps that succeed."""
        ended = probes.continue_from(trajectory, step, "student", self.tries)
        return sum(each.succeeded for each in ended) / self.tries

    def _fallen(self, trajectory: Trajectory, step: int, before: float, after: float) -> Divergence | None:
        evidence = f"{before:.0%} of the student's continuations succeed before it, {after:.0%} after it"
        return self.found(trajectory, step, "the student's chance collapses", evidence, before - after)


class CostToGo(Settings):
    """The first step after which the teacher needs more steps than before it, and never again fewer.

    How many steps are needed is found by pressing: can the teacher still succeed within b steps? The clock is set to
    that, so that one who takes its time when there is some is measured by what it can do. A world that looks like one
    already probed is not probed again. Cost: up to two probes for each step that changed the world, each with up to
    `tries` continuations of the teacher, the clock of the episode left out of account.
    """

    tries: int = Field(default=1, ge=1)
    """Continuations until one succeeds within the steps given; more than one where the world has luck in it."""

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The first lasting rise; `None` if the teacher does not succeed from the start, or there is none."""
        gauge = _Gauge(trajectory, probes, self.tries)
        needed = gauge.needed(0)
        if needed is None:
            return None
        risen: int | None = None
        for step in range(1, len(trajectory.steps) + 1):
            # One step brings the end nearer by one at most, so that one less is all there is to ask for.
            fewer = gauge.within(step, needed - 1)
            if fewer is not None:
                needed, risen = fewer, None
            elif risen is None and gauge.within(step, needed, sure=True) is None:
                risen = step
        if risen is None:
            return None
        evidence = f"{needed} steps were enough before it, and never again"
        return self.found(trajectory, risen, "further from the end than before", evidence)


class _Gauge:
    """How few steps the teacher needs from the worlds of one trajectory; remembers what was tried."""

    def __init__(self, trajectory: Trajectory, probes: Probes, tries: int) -> None:
        self.trajectory = trajectory
        self.probes = probes
        self.tries = tries
        self.enough: dict[str, int] = {}
        self.too_few: dict[str, int] = {}

    def needed(self, step: int) -> int | None:
        """The least number of steps with which the teacher succeeds; `None` if it does not at all."""
        best: int | None = None
        for ended in self.probes.continue_from(self.trajectory, step, "teacher", self.tries):
            if ended.succeeded:
                length = len(ended.steps) - step
                best = length if best is None else min(best, length)
        while best is not None and (fewer := self.within(step, best - 1)) is not None:
            best = fewer
        return best

    def within(self, step: int, budget: int, sure: bool = False) -> int | None:
        """How many steps of `budget` the teacher takes to succeed; `None` if they are too few.

        `sure` tries twice as often before it says so.
        """
        world = self.trajectory.world(step)
        if budget < 1 or (world is not None and world.ended):
            return None
        name = world.world_digest if world is not None else f"step {step}"
        if self.enough.get(name, budget + 1) <= budget:
            return self.enough[name]
        if budget <= self.too_few.get(name, 0):
            return None
        for _ in range(self.tries * 2 if sure and self.tries > 1 else self.tries):
            (ended,) = self.probes.continue_from(self.trajectory, step, "teacher", within=budget)
            if ended.succeeded:
                self.enough[name] = len(ended.steps) - step
                return self.enough[name]
        self.too_few[name] = budget
        return None


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _explained(shares: list[float], at: int) -> float:
    """How much of the spread one fall at `at` explains; 0 where it is a rise."""
    fall = _mean(shares[:at]) - _mean(shares[at:])
    return at * (len(shares) - at) / len(shares) * fall * fall if fall > 0 else 0.0
