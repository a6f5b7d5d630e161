"""Detectors that ask the teacher: what would it have done here?"""

from __future__ import annotations

from typing import Literal

from agentdistill.divergence.base import Probes, Settings
from agentdistill.records import Divergence, Message, Trajectory


class Disagreement(Settings):
    """The teacher proposes a turn in states that the student visited: the first action that is not equivalent to it.

    What comes to the same is the environment's own notion (`ToolEnvironment.equivalent`). Cost in teacher calls for n
    steps, one turn each: `forwards` up to the first disagreement, n at most; `backwards` from the end to the last
    agreement; `bisection` ⌈log2 (n + 1)⌉, where it is taken that nobody agrees again after the mistake.
    """

    order: Literal["forwards", "backwards", "bisection"] = "forwards"
    """Which states are asked about, and in which order."""

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The first disagreement, or the one that follows the last agreement."""
        last = len(trajectory.steps)
        proposals: dict[int, Message] = {}

        def agrees(number: int) -> bool:
            (proposals[number],) = probes.propose(trajectory, [number - 1])
            return probes.equivalent(trajectory, number, proposals[number])

        if self.order == "forwards":
            step = next((number for number in range(1, last + 1) if not agrees(number)), None)
        elif self.order == "backwards":
            agreed = next((number for number in range(last, 0, -1) if agrees(number)), 0)
            step = agreed + 1 if agreed < last else None
        else:
            agreed, differs = 0, last + 1
            while differs - agreed > 1:
                middle = (agreed + differs) // 2
                if agrees(middle):
                    agreed = middle
                else:
                    differs = middle
            step = differs if differs <= last else None
        if step is None:
            return None
        return self.found(trajectory, step, "the teacher does something else", _told(proposals[step]))


class LastingDisagreement(Settings):
    """The first action that is not equivalent to what the teacher proposed there, and never made good.

    Made good is it by any later action of the student that is equivalent to that proposal. Cost: n teacher calls of one
    turn each for n steps, all at once.
    """

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The first lasting disagreement."""
        numbers = range(1, len(trajectory.steps) + 1)
        proposals = probes.propose(trajectory, [number - 1 for number in numbers])
        for number, proposal in zip(numbers, proposals, strict=True):
            if not any(probes.equivalent(trajectory, at, proposal) for at in numbers[number - 1 :]):
                return self.found(trajectory, number, "what the teacher does is never done", _told(proposal))
        return None


def _told(proposal: Message) -> str:
    calls = ", ".join(f"{call.name}({', '.join(map(str, call.arguments.values()))})" for call in proposal.tool_calls)
    return f"proposed: {calls or proposal.content}"[:300]
