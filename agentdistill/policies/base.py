"""What acts: student and teacher alike, batch first, on one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from agentdistill.records import Completion, Message, ToolSpec


@dataclass(frozen=True)
class Request:
    """One conversation that waits for an assistant turn.

    `context_ids` are the exact ids of the first `covered` messages, as the model was fed and sampled them, ending
    with its last turn (both empty where nothing is known): they are used again as they are. `seed` decides the
    sampling of this request and of nothing else.
    `world` is the live environment, and only for policies that declare `privileged`: scripted teachers that
    know the truth. A model never sees it.
    """

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    context_ids: tuple[int, ...] = ()
    covered: int = 0
    seed: int = 0
    world: object | None = field(default=None, compare=False, repr=False)


@runtime_checkable
class Policy(Protocol):
    """Acts on many conversations at once."""

    @property
    def name(self) -> str:
        """Who this is, for the records."""
        ...

    @property
    def privileged(self) -> bool:
        """True for a scripted policy that reads the live environment."""
        ...

    def act(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request, in order.

        Raises:
            PolicyError: the model or its server did not answer.
        """
        ...


@runtime_checkable
class Joinable(Policy, Protocol):
    """A policy that takes requests while it answers others: nobody waits for the longest turn of a batch."""

    def submit(self, requests: Sequence[Request]) -> list[int]:
        """Take requests in; a ticket for each."""
        ...

    def advance(self) -> list[tuple[int, Completion]]:
        """Go on a little: what is answered by now, by its ticket.

        Raises:
            PolicyError: as `act`; nothing that was taken in will be answered.
        """
        ...

    def cancel(self, tickets: Sequence[int]) -> None:
        """Answer these no more."""
        ...


@dataclass(frozen=True)
class ScoreRequest:
    """All ids of a conversation, and the index from which each is to be scored given all before it."""

    ids: tuple[int, ...]
    first: int


@dataclass(frozen=True)
class Scores:
    """Natural log-probabilities at temperature 1, one for each scored id."""

    logprobs: tuple[float, ...]


@runtime_checkable
class Scorer(Protocol):
    """Gives the log-probabilities of given tokens."""

    def score(self, requests: Sequence[ScoreRequest]) -> list[Scores]:
        """The scores of each request, in order.

        Raises:
            PolicyError: the model or its server did not answer, or cannot score these ids.
        """
        ...
