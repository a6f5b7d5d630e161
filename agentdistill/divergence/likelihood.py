"""Detectors by likelihood: how surprising was what the student did, to the teacher or to itself."""

from __future__ import annotations

from agentdistill.divergence.base import Probes, Settings
from agentdistill.records import Actor, Divergence, Trajectory


class Surprise(Settings):
    """The student's own action, by its log-probability (natural, all tokens of a turn together) under `under`.

    Under the teacher one pass of scoring, no generated token: the tokens scored are charged as written. Under the
    student itself nothing of the teacher's. A student that is unsure hesitates; one that is wrong is often sure.
    """

    under: Actor = "student"
    """Whose surprise: `student` or `teacher`; that one must be able to score the student's token ids."""
    above: float | None = None
    """Nats that are too many: the first step beyond. Without it, the most surprising step."""

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The first step above the threshold, or the most surprising one."""
        told = probes.likelihood(trajectory, self.under)
        return _pick(self, trajectory, [-sum(step) for step in told], self.above, f"surprises the {self.under}")


class LikelihoodGap(Settings):
    """Where student and teacher differ most: log-probability of the student's turn under itself less under the teacher.

    What FutureBridge (2608.01953) and SOD (2605.07725) steer by. One pass of scoring by each, no generated token.
    """

    above: float | None = None
    """Nats that are too many: the first step beyond. Without it, the step of the greatest gap."""

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The first step above the threshold, or the one of the greatest gap."""
        own, teachers = probes.likelihood(trajectory, "student"), probes.likelihood(trajectory, "teacher")
        gaps = [sum(mine) - sum(theirs) for mine, theirs in zip(own, teachers, strict=True)]
        return _pick(self, trajectory, gaps, self.above, "student and teacher disagree")


def _pick(
    by: Settings, trajectory: Trajectory, nats: list[float], above: float | None, reason: str
) -> Divergence | None:
    """The first step above the threshold, or the greatest of all; its share of all nats is the confidence."""
    if not nats:
        return None
    over = [at for at, value in enumerate(nats) if value > above] if above is not None else [nats.index(max(nats))]
    if not over:
        return None
    total = sum(max(0.0, value) for value in nats)
    share = max(0.0, nats[over[0]]) / total if total else 0.0
    return by.found(trajectory, over[0] + 1, reason, f"{nats[over[0]]:.2f} nats", share)
