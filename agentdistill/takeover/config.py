"""How a teacher takes over: the settings."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agentdistill.records import Place


class TakeoverConfig(BaseModel):
    """How a teacher takes over. The default: once, right after the mistake, to the end of the episode."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    place: Place = "after"
    """`after`: the mess of the mistake stays, and is to be climbed out of. `before`: the mistake is replaced."""
    steps: int | None = Field(None, gt=0)
    """Turns the teacher takes before it stops; none: to the end."""
    until: Literal["end", "progress"] = "end"
    """`progress`: the teacher stops as soon as what the mistake cost is regained: the environment's progress is above
    what it was before the mistake, or, where it has none, the tool that failed there has gone through."""
    hand_back: bool = False
    """Whether the student goes on where the teacher stops. If not, the trace is paused there, and unverified."""
    most: int = Field(1, gt=0)
    """Times the teacher steps in in one episode: where the student fails after a hand-back, the divergence is looked
    for again among its new steps."""
    attempts: int = Field(1, gt=0)
    """Tries at once from one snapshot, each with luck of its own; the first verified one is kept, all are charged."""
    back_off: int = Field(0, ge=0)
    """How often to try again from an earlier state when all attempts failed: 1, 2, 4, ... steps further back."""
    note: tuple[Literal["verdict", "reference", "critique"], ...] = ()
    """What the teacher is told in private: the hidden check's words, a way to solve the task, what a critic said."""
    flip: bool = False
    """Whether to find out if the student, going on after the teacher's first turn, succeeds (2602.03412)."""
    episode_tokens: int | None = Field(None, gt=0)
    """Most teacher output tokens for one failure, attempts that fail included; the turn that reaches it is the last."""

    @model_validator(mode="after")
    def _consistent(self) -> TakeoverConfig:
        stops = self.steps is not None or self.until == "progress" or self.episode_tokens is not None
        if self.hand_back and not stops:
            raise ValueError("hand_back needs something that stops the teacher: steps, until = 'progress' or a budget")
        if self.most > 1 and not self.hand_back:
            raise ValueError("most > 1 needs hand_back: without it, the teacher steps in once")
        if len(set(self.note)) != len(self.note):
            raise ValueError("note names something twice")
        return self
