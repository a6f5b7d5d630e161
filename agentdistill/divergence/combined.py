"""Detectors made of detectors: the earliest, a vote, a chain of fall-backs. Each costs what its parts cost."""

from __future__ import annotations

from pydantic import Field

from agentdistill.divergence.base import Detector, Probes, Settings
from agentdistill.records import Divergence, Trajectory


class Earliest(Settings):
    """The earliest divergence that any of several detectors finds; ties go to the first named."""

    of: tuple[Detector, ...] = Field(min_length=1)
    """The detectors; all are asked."""

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The divergence with the smallest step."""
        found = [each for detector in self.of if (each := detector(trajectory, probes)) is not None]
        return min(found, key=lambda divergence: divergence.step, default=None)


class FirstOf(Settings):
    """A chain of fall-backs: what the first detector finds that finds any. Those behind it are not asked."""

    of: tuple[Detector, ...] = Field(min_length=1)
    """The detectors, in the order in which they are asked."""

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The first divergence found."""
        for detector in self.of:
            found = detector(trajectory, probes)
            if found is not None:
                return found
        return None


class Vote(Settings):
    """The step that most detectors name; the earliest of several. All are asked."""

    of: tuple[Detector, ...] = Field(min_length=1)
    """The detectors; each has one vote."""
    quorum: int = Field(default=1, ge=1)
    """Votes that a step needs."""
    within: int = Field(default=0, ge=0)
    """How many steps apart two may be and still mean the same."""

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """What the first of those found who voted for the winning step; its confidence is the share of votes."""
        found = [each for detector in self.of if (each := detector(trajectory, probes)) is not None]
        support = {each.step: [o for o in found if abs(o.step - each.step) <= self.within] for each in found}
        if not support:
            return None
        step = min(support, key=lambda each: (-len(support[each]), each))
        if len(support[step]) < self.quorum:
            return None
        reasons = ", ".join(f"{each.detector} ({each.step})" for each in support[step])
        share = len(support[step]) / len(self.of)
        named = next(each for each in found if each.step == step)
        return self.found(trajectory, step, named.reason, f"{reasons}: {named.evidence}", share)
