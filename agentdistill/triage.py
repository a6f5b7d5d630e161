"""Which failures deserve a costly detector or a takeover, when not all can be paid.

As ThriftyDAgger (2109.08273) solves its thresholds from a budget of queries: the score above which a failure is taken
is set such that what is expected to be spent is what may be spent. Where many failures have one and the same score, a
share of them is taken. Kinds of failures may have quotas, so that the budget does not all go to the commonest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agentdistill.errors import ConfigError
from agentdistill.records import derive_seed


@dataclass(frozen=True)
class Candidate:
    """A failure that might be paid for.

    Attributes:
        id: of its trajectory.
        score: how much it deserves it, higher is more: a cheap detector's confidence, or the student's surprise.
        cost: teacher tokens that it is expected to take.
        kind: of the failure, a cheap detector's reason for one.
    """

    id: str
    score: float
    cost: float
    kind: str = ""


@dataclass(frozen=True)
class Threshold:
    """Taken is what scores more than `score`, and of what scores just that the share `chance`."""

    score: float
    chance: float

    def takes(self, candidate: Candidate) -> bool:
        """Whether a failure is taken: the same answer for the same failure, always."""
        if candidate.score != self.score:
            return candidate.score > self.score
        return derive_seed("triage", candidate.id) / 2**63 < self.chance


@dataclass(frozen=True)
class Triage:
    """The thresholds that a budget comes to: one for each kind with a quota, and one for all others.

    `expected` is what all taken are expected to cost, in teacher tokens.
    """

    common: Threshold
    quotas: Mapping[str, Threshold] = field(default_factory=dict)
    expected: float = 0.0

    def takes(self, candidate: Candidate) -> bool:
        """Whether a failure is taken."""
        own = self.quotas.get(candidate.kind)
        return self.common.takes(candidate) or (own is not None and own.takes(candidate))


def triage(
    seen: Sequence[Candidate], budget: float, coming: int | None = None, quotas: Mapping[str, float] | None = None
) -> Triage:
    """Solve the thresholds.

    Each kind with a quota first has its share of the budget, for its best; what is left of the budget, unused quotas
    included, goes to the best of all that were not taken so.

    Args:
        seen: failures whose scores are taken to be like those to come.
        budget: teacher tokens that may be spent on those to come.
        coming: how many will come; as many as were seen unless given.
        quotas: the share of the budget that is set aside for a kind; together 1 at most.

    Raises:
        ConfigError: a budget, cost or quota below 0, or quotas above 1 together.
    """
    shares = dict(quotas or {})
    if budget < 0 or any(share < 0 for share in shares.values()) or sum(shares.values()) > 1 + 1e-9:
        raise ConfigError("a budget cannot be negative, nor a quota; and quotas are shares that make up 1 at most")
    if any(each.cost < 0 for each in seen):
        raise ConfigError("no failure can cost less than nothing")
    scale = (len(seen) if coming is None else coming) / max(1, len(seen))
    if scale == 0:
        return Triage(_solve([], 0), {kind: _solve([], 0) for kind in shares})
    own = {
        kind: _solve([(each, 1.0) for each in seen if each.kind == kind], share * budget / scale)
        for kind, share in shares.items()
    }
    taken = [_share(each, own.get(each.kind)) for each in seen]
    spent = sum(each.cost * part for each, part in zip(seen, taken, strict=True))
    rest = [(each, 1 - part) for each, part in zip(seen, taken, strict=True)]
    common = _solve(rest, budget / scale - spent)
    spent += sum(each.cost * part * _share(each, common) for each, part in rest)
    return Triage(common, own, spent * scale)


def _share(candidate: Candidate, threshold: Threshold | None) -> float:
    """How likely a threshold takes a failure."""
    if threshold is None or candidate.score < threshold.score:
        return 0.0
    return threshold.chance if candidate.score == threshold.score else 1.0


def _solve(candidates: Sequence[tuple[Candidate, float]], budget: float) -> Threshold:
    """The lowest threshold that is paid for; each failure counts with its share."""
    spent = 0.0
    for score in sorted({each.score for each, _ in candidates}, reverse=True):
        cost = sum(each.cost * part for each, part in candidates if each.score == score)
        if spent + cost > budget:
            return Threshold(score, max(0.0, (budget - spent) / cost))
        spent += cost
    return Threshold(min((each.score for each, _ in candidates), default=float("inf")), 1.0 if candidates else 0.0)
