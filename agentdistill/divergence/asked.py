"""Detectors that ask the teacher: what would it have done here?"""

from __future__ import annotations

from typing import Literal

from agentdistill.divergence.base import Probes, Settings, changed
from agentdistill.records import Divergence, Message, Trajectory


class Disagreement(Settings):
    """The teacher proposes a turn in states that the student visited: the first action that is not equivalent to it.

    What comes to the same is the environment's own notion (`ToolEnvironment.equivalent`). Steps that left the world as
    it was are passed over: looking around does no harm. Cost in teacher calls, one turn each, for the n steps that
    are left: `forwards` up to the first disagreement, n at most; `backwards` from the end to the last agreement;
    `bisection` ⌈log2 (n + 1)⌉, where it is taken that nobody agrees again after the mistake.
    """

    order: Literal["forwards", "backwards", "bisection"] = "forwards"
    """Which states are asked about, and in which order."""

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The first disagreement, or the one that follows the last agreement."""
        numbers = [number for number in range(1, len(trajectory.steps) + 1) if changed(trajectory, number)]
        last = len(numbers)
        proposals: dict[int, Message] = {}

        def agrees(at: int) -> bool:
            (proposals[at],) = probes.propose(trajectory, [numbers[at] - 1])
            return probes.equivalent(trajectory, numbers[at], proposals[at])

        first: int | None  # of the numbers
        if self.order == "forwards":
            first = next((at for at in range(last) if not agrees(at)), None)
        elif self.order == "backwards":
            agreed = next((at for at in reversed(range(last)) if agrees(at)), -1)
            first = agreed + 1 if agreed + 1 < last else None
        else:
            agreed, differs = -1, last
            while differs - agreed > 1:
                middle = (agreed + differs) // 2
                if agrees(middle):
                    agreed = middle
                else:
                    differs = middle
            first = differs if differs < last else None
        if first is None:
            return None
        return self.found(trajectory, numbers[first], "the teacher does something else", _told(proposals[first]))


class LastingDisagreement(Settings):
    """The first action that is not equivalent to what the teacher proposed there, and never made good.

    Made good is it by any later action of the student that is equivalent to that proposal. Cost: one teacher call, of
    one turn, for each step that changed the world, all at once.
    """

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The first lasting disagreement."""
        numbers = [number for number in range(1, len(trajectory.steps) + 1) if changed(trajectory, number)]
        proposals = probes.propose(trajectory, [number - 1 for number in numbers])
        for first, (number, proposal) in enumerate(zip(numbers, proposals, strict=True)):
            if not any(probes.equivalent(trajectory, at, proposal) for at in numbers[first:]):
                return self.found(trajectory, number, "what the teacher does is never done", _told(proposal))
        return None


def _told(proposal: Message) -> str:
    calls = ", ".join(f"{call.name}({', '.join(map(str, call.arguments.values()))})" for call in proposal.tool_calls)
    return f"proposed: {calls or proposal.content}"[:300]
