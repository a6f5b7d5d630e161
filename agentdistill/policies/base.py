"""What acts, student and teacher alike, and what scores: batch first, on one page."""

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
    know the truth. A model never sees it. `note` is for whoever acts and nobody else: `policies.informed` shows it to a
    model, and no record of the conversation holds it.
    """

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    context_ids: tuple[int, ...] = ()
    covered: int = 0
    seed: int = 0
    note: str = ""
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
    """Which tokens of a text to score: `ids` is all of it, `wanted` the places in it, none of them 0.

    `top`: how many of the likeliest tokens at each of these places are wanted as well.
    """

    ids: tuple[int, ...]
    wanted: tuple[int, ...]
    top: int = 0


@dataclass(frozen=True)
class Scores:
    """Natural log-probabilities, one for each wanted place: of the id there, given all ids before it.

    They are the model's own, at temperature 1 and with nothing cut off. `top` has for each place the ids that are
    likeliest there, as many as were asked for, with theirs.
    """

    logprobs: tuple[float, ...]
    top: tuple[tuple[tuple[int, float], ...], ...] = ()


@runtime_checkable
class Scorer(Protocol):
    """Knows how likely given tokens are; the ids are of its own vocabulary."""

    @property
    def name(self) -> str:
        """Who this is, for the records."""
        ...

    def score(self, requests: Sequence[ScoreRequest]) -> list[Scores]:
        """Scores for each request, in order.

        Raises:
            PolicyError: the model or its server did not answer, or does not give what was asked for.
        """
        ...
