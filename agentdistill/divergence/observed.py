"""Detectors that only look at what stands in the trajectory: tool errors, visible tests, loops. None costs a call."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from agentdistill.divergence.base import Probes, Settings, calls_of, changed, open_steps
from agentdistill.records import Divergence, OutcomeStatus, Step, Trajectory, derive_seed

FAULTS: tuple[OutcomeStatus, ...] = ("malformed", "unknown_tool", "bad_argument", "failed", "timeout")


class FirstToolError(Settings):
    """The first call that was malformed, unknown, badly typed, failing or timed out. No teacher calls."""

    kinds: tuple[OutcomeStatus, ...] = FAULTS
    """Which of them count: `malformed`, `unknown_tool`, `bad_argument`, `failed`, `timeout`."""

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The step of the first call that did not go through."""
        for number in open_steps(trajectory):
            for outcome in trajectory.steps[number - 1].outcomes:
                if outcome.status in self.kinds and outcome.status != "ok":
                    return self.found(trajectory, number, f"tool error: {outcome.status}", outcome.text)
        return None


class LastingToolError(Settings):
    """The first call that did not go through and whose tool never went through later. No teacher calls."""

    kinds: tuple[OutcomeStatus, ...] = FAULTS
    """Which of them count: `malformed`, `unknown_tool`, `bad_argument`, `failed`, `timeout`."""

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The step of the first failed call after which its tool has no success."""
        mended: set[str] = set()
        found = None
        for number in reversed(range(1, len(trajectory.steps) + 1)):
            for outcome in reversed(trajectory.steps[number - 1].outcomes):
                if outcome.status == "ok":
                    mended.add(outcome.tool)
                elif outcome.status in self.kinds and outcome.tool not in mended and number in open_steps(trajectory):
                    found = self.found(trajectory, number, f"lasting tool error: {outcome.status}", outcome.text)
        return found


class FailingVisibleTest(Settings):
    """The first run of the visible tests that fails: signal ``tests_failed`` above 0. No teacher calls."""

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The step whose signal reports a failing test."""
        for number in open_steps(trajectory):
            failed = _count(trajectory.steps[number - 1], "tests_failed") or 0
            if failed > 0:
                return self.found(trajectory, number, "visible test fails", f"{failed} failed")
        return None


class BrokenVisibleTest(Settings):
    """Visible tests that passed and no longer do: signal ``tests_passed`` below what it was. No teacher calls.

    The mistake lies between the two runs of the tests; named is the last step in between that changed the world.
    """

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The last step that changed the world before fewer tests passed than at some run before."""
        most, since = 0, 0
        for number in open_steps(trajectory):
            passed = _count(trajectory.steps[number - 1], "tests_passed")
            if passed is None:
                continue
            if passed < most:
                acting = [k for k in range(since + 1, number) if changed(trajectory, k)]
                step = acting[-1] if acting else number
                return self.found(trajectory, step, "visible tests passed and no longer do", f"{most}, then {passed}")
            most, since = passed, number
        return None


class Loop(Settings):
    """The same call in the same world again. No teacher calls; needs snapshots."""

    times: int = Field(default=2, ge=2)
    """At which occurrence of the call it is a loop."""

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The step at which a call and the world it was made in repeat."""
        seen: dict[tuple[str, str], int] = {}
        for number in open_steps(trajectory):
            world = trajectory.world(number - 1)
            if world is None:
                return None
            key = (world.world_digest, calls_of(trajectory.steps[number - 1].completion.message))
            seen[key] = seen.get(key, 0) + 1
            if seen[key] >= self.times:
                return self.found(trajectory, number, "loop: same call in the same world", key[1])
        return None


class NoChange(Settings):
    """So many steps on end that leave the world as it was: the first of them. No teacher calls; needs snapshots."""

    patience: int = Field(default=4, ge=1)
    """Steps without any change that are too many. Looking around is none, so it must not be small."""

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The first step of the first stretch in which nothing changes."""
        idle = 0
        for number in open_steps(trajectory):
            if trajectory.world(number) is None or trajectory.world(number - 1) is None:
                return None
            idle = 0 if changed(trajectory, number) else idle + 1
            if idle == self.patience:
                return self.found(trajectory, number - idle + 1, "no change", f"{idle} steps changed nothing")
        return None


class RepeatedOrInvalid(Settings):
    """The first action that did not go through, or that was done before in the same world. No teacher calls.

    The diagnostic of Qiao et al. 2026 (OPW): what a student repeats, or what is invalid, teaches it nothing. Without
    snapshots only the invalid ones are seen.
    """

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The earlier of the two."""
        found = [each for each in (FirstToolError()(trajectory, probes), Loop()(trajectory, probes)) if each]
        if not found:
            return None
        first = min(found, key=lambda each: each.step)
        kind = "invalid action" if first.detector == "FirstToolError" else "repeated action"
        return self.found(trajectory, first.step, kind, first.evidence)


class Progress(Settings):
    """The environment's own potential falls and never again rises above what it was. No teacher calls.

    An oracle: the potential may know more than anybody who acts.
    """

    oracle: ClassVar[bool] = True

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The first lasting fall; `None` also where the environment has no potential."""
        heights = probes.progress(trajectory)
        for number in range(1, len(heights)):
            before, here = heights[number - 1], heights[number]
            if before is None or here is None or here >= before:
                continue
            if all(later is None or later <= before for later in heights[number + 1 :]):
                return self.found(trajectory, number, "progress fell", f"from {before:g} to {here:g}")
        return None


class LastStep(Settings):
    """The last step that something follows: all of the mess stays. No teacher calls."""

    room: int = Field(default=8, ge=0)
    """How many steps earlier it is in a run that was cut by its limit: whoever goes on has no others left."""

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The last step but one, or as much earlier as there has to be room; `None` for a run of one step."""
        last = len(trajectory.steps) - 1
        if trajectory.ending == "step_limit":
            last = max(min(last, 1), last - self.room)
        return self.found(trajectory, last, "just before the end", "") if last > 0 else None


class RandomStep(Settings):
    """A step drawn uniformly from those visited: the baseline of the literature (2512.14895, 2607.04574).

    No teacher calls.
    """

    seed: int = 0
    """Decides the draws, together with the trajectory."""

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The same step for the same trajectory and seed."""
        visited = list(open_steps(trajectory))
        if not visited:
            return None
        luck = np.random.default_rng(derive_seed("random-step", self.seed, trajectory.id))
        return self.found(trajectory, int(luck.choice(visited)), "random", "", 1 / len(visited))


def _count(step: Step, signal: str) -> int | None:
    """A signal that counts something; `None` where it is not there, or no count."""
    value = step.signals.get(signal)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
