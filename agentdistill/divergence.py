"""Where did it go wrong: the detectors.

A detector takes a finished trajectory and says after which step the mistake is in the world, or `None` if it sees
none that a takeover could still follow. What it may try out or ask it is handed as `Probes`. None of these reads the
environment's truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from agentdistill.errors import UnknownNameError, nearest
from agentdistill.records import Actor, Completion, Cost, Divergence, Message, ToolSpec, Trajectory, derive_seed


class Probes(Protocol):
    """What a detector may try out and ask, about one failed trajectory; all of it is counted in `cost`.

    Steps are counted as everywhere: step k is the k-th turn, and "after k steps" is the world that it left.
    """

    @property
    def cost(self) -> Cost:
        """What has been tried out and asked so far."""
        ...

    def continue_from(self, trajectory: Trajectory, step: int, actor: Actor, times: int = 1) -> tuple[Trajectory, ...]:
        """Restore the world after `step` steps and let student or teacher go on to the end, with fresh luck each time.

        Raises:
            InfrastructureError: a continuation broke beyond its retries.
        """
        ...

    def propose(self, trajectory: Trajectory, steps: Sequence[int]) -> tuple[Message, ...]:
        """What the teacher would say in the state after each of these numbers of steps; nothing of it is done."""
        ...

    def equivalent(self, trajectory: Trajectory, step: int, other: Message) -> bool:
        """Whether the student's turn at `step` and `other` come to the same there, as the environment sees it."""
        ...

    def likelihood(self, trajectory: Trajectory, actor: Actor) -> tuple[tuple[float, ...], ...]:
        """For each step of the trajectory the log-probabilities (natural) of its tokens under student or teacher.

        Raises:
            PolicyError: who was asked cannot score.
        """
        ...

    def progress(self, trajectory: Trajectory) -> tuple[float | None, ...]:
        """The environment's own potential after 0, 1, ... steps: higher is better, `None` where it has none."""
        ...

    def ask(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> Completion:
        """Put a question to the teacher that is not about what to do next."""
        ...

    def reference(self, trajectory: Trajectory) -> str:
        """How the task can be solved, in words for a judge: private, and empty where the environment has none."""
        ...


class Detector(Protocol):
    """Finds the point of divergence of a failed trajectory."""

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The divergence, or `None`."""
        ...


class FirstToolError:
    """The first call that was malformed, unknown, badly typed, failing or timed out."""

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The step of the first call that did not go through."""
        for number in _open_steps(trajectory):
            for outcome in trajectory.steps[number - 1].outcomes:
                if outcome.status != "ok":
                    return _found(self, trajectory, number, f"tool error: {outcome.status}", outcome.text)
        return None


class LastingToolError:
    """The first call that did not go through and whose tool never went through later: nothing mended it."""

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The step of the first failed call after which its tool has no success."""
        mended: set[str] = set()
        found = None
        for number in reversed(range(1, len(trajectory.steps) + 1)):
            for outcome in reversed(trajectory.steps[number - 1].outcomes):
                if outcome.status == "ok":
                    mended.add(outcome.tool)
                elif outcome.tool not in mended and number in _open_steps(trajectory):
                    found = _found(self, trajectory, number, f"lasting tool error: {outcome.status}", outcome.text)
        return found


class FailingVisibleTest:
    """The first run of the visible tests that fails: signal ``tests_failed`` above 0."""

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The step whose signal reports a failing test."""
        for number in _open_steps(trajectory):
            failed = trajectory.steps[number - 1].signals.get("tests_failed", 0)
            if isinstance(failed, int) and failed > 0:
                return _found(self, trajectory, number, "visible test fails", f"{failed} failed")
        return None


class Loop:
    """The same call in the same world for the second time."""

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The step at which a call and the world it was made in repeat. Needs snapshots."""
        seen: set[tuple[str, str]] = set()
        for number in _open_steps(trajectory):
            world = trajectory.world(number - 1)
            if world is None:
                return None
            calls = trajectory.steps[number - 1].completion.message.tool_calls
            key = (world.world_digest, "".join(c.model_dump_json(exclude={"id"}) for c in calls))
            if key in seen:
                return _found(self, trajectory, number, "loop: same call in the same world", key[1])
            seen.add(key)
        return None


class RandomStep:
    """A step drawn uniformly from those visited: the baseline of the literature (2512.14895, 2607.04574)."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The same step for the same trajectory and seed."""
        visited = list(_open_steps(trajectory))
        if not visited:
            return None
        luck = np.random.default_rng(derive_seed("random-step", self.seed, trajectory.id))
        return _found(self, trajectory, int(luck.choice(visited)), "random", "", 1 / len(visited))


class Earliest:
    """The earliest divergence that any of several detectors finds; ties go to the first named."""

    def __init__(self, detectors: Sequence[Detector]) -> None:
        self.detectors = tuple(detectors)

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The divergence with the smallest step."""
        found = [d for detector in self.detectors if (d := detector(trajectory, probes)) is not None]
        return min(found, key=lambda divergence: divergence.step, default=None)


def detector(names: Sequence[str], seed: int = 0) -> Detector:
    """The detector of these names, the earliest of them if there are several.

    Raises:
        UnknownNameError: no detector has one of the names, or none is named.
    """
    known: dict[str, Detector] = {
        "first_tool_error": FirstToolError(),
        "lasting_tool_error": LastingToolError(),
        "failing_visible_test": FailingVisibleTest(),
        "loop": Loop(),
        "random": RandomStep(seed),
    }
    if not names:
        raise UnknownNameError(f"name at least one detector; there are {', '.join(known)}")
    for name in names:
        if name not in known:
            raise UnknownNameError(f"unknown detector {name!r}; there are {', '.join(known)}.{nearest(name, known)}")
    return known[names[0]] if len(names) == 1 else Earliest([known[name] for name in names])


def _open_steps(trajectory: Trajectory) -> range:
    """Numbers (1-based) of the steps after which there was still something to do."""
    return range(1, len(trajectory.steps))


def _found(
    by: object, trajectory: Trajectory, step: int, reason: str, evidence: str, confidence: float = 1.0
) -> Divergence:
    return Divergence(
        trajectory_id=trajectory.id,
        step=step,
        reason=reason,
        detector=type(by).__name__,
        evidence=evidence,
        confidence=confidence,
    )
