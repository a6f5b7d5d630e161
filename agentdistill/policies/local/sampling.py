"""How a local policy samples: its settings, one turn that is being sampled, and the choice of a token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field


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

    def take(self, token: int, logprob: float, stop: int) -> bool:
        """Add a token; True once the turn is over."""
        self.sampled.append(token)
        self.logprobs.append(logprob)
        return token == stop or len(self.sampled) == self.room


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
        probabilities, order = logprobs.exp().double().sort(dim=-1, descending=True, stable=True)
        cumulative = probabilities.cumsum(dim=-1)
        kept = (cumulative - probabilities) < sampling.top_p
        total = (probabilities * kept).sum(dim=-1)
        logprobs = logprobs - total.log().float()[:, None]  # what is sampled from is only what was kept
        place = (cumulative < (luck * total)[:, None]).sum(dim=-1)
        place = torch.minimum(place, kept.sum(dim=-1) - 1)
        chosen = order.gather(1, place[:, None])[:, 0]
    return list(zip(chosen.tolist(), logprobs.gather(1, chosen[:, None])[:, 0].tolist(), strict=True))
