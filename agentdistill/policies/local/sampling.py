"""How a local policy samples: its settings, one turn that is being sampled, and the choice of a token."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

# Sorting a large vocabulary for every token takes longer than many a model: mostly its likeliest tokens decide.
LARGE = 8192
LIKELIEST = 256


class Sampling(BaseModel):
    """How a local policy samples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(default=1.0, ge=0.0)
    """Divides the logits; 0 takes the likeliest token."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    """Keeps the likeliest tokens that together have this probability."""
    max_new_tokens: int = Field(default=64, gt=0)
    """Longest turn."""
    batch: int = Field(default=128, gt=0)
    """Most conversations in one forward pass."""
    prefill_tokens: int = Field(default=4096, gt=0)
    """Most tokens, padding included, of one forward pass over new context; longer ones are fed in pieces."""
    cache_bytes: int = Field(default=2 * 2**30, ge=0)
    """Most bytes of keys and values: those of the live conversations, and those kept for their next turns. One
    conversation at a time is always taken, whatever it needs; 0 keeps nothing between turns."""


@dataclass(eq=False)
class Turn:
    """One turn that is being sampled.

    Attributes:
        prompt: all ids before it.
        seed: decides its luck.
        room: most tokens it may have.
        sampled: its ids so far.
        logprobs: their natural log-probabilities under the distribution each was drawn from.
    """

    prompt: list[int]
    seed: int
    room: int
    sampled: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        # One uniform number per token, drawn from the request's own seed: the company it keeps changes nothing.
        self._luck = np.random.Generator(np.random.Philox(self.seed)).random(self.room)

    @property
    def luck(self) -> float:
        """The uniform number in [0, 1) that decides the next token."""
        return float(self._luck[len(self.sampled)])

    def take(self, token: int, logprob: float, stops: Collection[int]) -> bool:
        """Add a token; True once the turn is over."""
        self.sampled.append(token)
        self.logprobs.append(logprob)
        return token in stops or len(self.sampled) == self.room


def choose(logits: torch.Tensor, turns: Sequence[Turn], sampling: Sampling) -> list[tuple[int, float]]:
    """The next token of each turn and its natural log-probability, from logits [turns, vocabulary] of any type."""
    if logits.device.type == "mps":  # it has no float64
        logits = logits.cpu()
    logits = logits.float()
    if sampling.temperature == 0.0:
        logprobs = torch.log_softmax(logits, dim=-1)
        chosen = logprobs.argmax(dim=-1)
    else:
        luck = torch.tensor([turn.luck for turn in turns], dtype=torch.float64, device=logits.device)
        logprobs = torch.log_softmax(logits / sampling.temperature, dim=-1)
        probabilities = logprobs.exp().double()
        size = probabilities.shape[-1]
        drawn = _draw(probabilities, luck, sampling.top_p, LIKELIEST) if size >= LARGE else None
        drawn = drawn or _draw(probabilities, luck, sampling.top_p, size)
        assert drawn is not None
        chosen, total = drawn
        logprobs = logprobs - total.log().float()[:, None]  # what is sampled from is only what was kept
    return list(zip(chosen.tolist(), logprobs.gather(1, chosen[:, None])[:, 0].tolist(), strict=True))


def _draw(
    probabilities: torch.Tensor, luck: torch.Tensor, top_p: float, most: int
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The token that each row's luck falls on, the likeliest first, and how probable together those are that were kept.

    Args:
        probabilities: float64 [rows, vocabulary].
        luck: uniform numbers, float64 [rows].
        top_p: the likeliest tokens that together have this probability are kept.
        most: how many of the likeliest are looked at.

    Returns:
        Token ids [rows] and probabilities [rows]; `None` where so few do not decide.
    """
    if most < probabilities.shape[-1]:
        ranked, order = probabilities.topk(most, dim=-1)
    else:
        ranked, order = probabilities.sort(dim=-1, descending=True, stable=True)
    cumulative = ranked.cumsum(dim=-1)
    kept = (cumulative - ranked) < top_p
    total = (ranked * kept).sum(dim=-1)
    if most < probabilities.shape[-1]:
        if top_p == 1.0:
            total = probabilities.sum(dim=-1)
        needed = luck * total if top_p == 1.0 else torch.full_like(total, top_p)
        if bool((cumulative[:, -1] < needed).any()):
            return None
    place = (cumulative < (luck * total)[:, None]).sum(dim=-1)
    place = torch.minimum(place, kept.sum(dim=-1) - 1)
    return order.gather(1, place[:, None])[:, 0], total
