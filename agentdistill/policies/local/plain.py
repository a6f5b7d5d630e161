"""Sampling for models whose keys and values cannot be kept: `generate` over whole conversations, turn after turn.

It knows how each architecture is fed; only the choice of a token is ours.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from agentdistill.policies.local.sampling import Sampling, Turn, choose


class PlainBatches:
    """Samples turns in batches of conversations, padded on the left; nobody joins, and finished ones wait for the rest.

    Attributes:
        fed: tokens that were fed to the model at the beginning of turns so far, padding left out.
    """

    def __init__(self, model: Any, sampling: Sampling, stops: Collection[int]) -> None:
        self.model = model
        self.sampling = sampling
        self.stops = sorted(stops)
        self.waiting: deque[Turn] = deque()
        self.fed = 0

    @property
    def bytes(self) -> int:
        """Nothing is kept."""
        return 0

    def submit(self, turn: Turn) -> None:
        """Let a conversation wait for the next batch."""
        self.waiting.append(turn)

    @torch.inference_mode()
    def advance(self) -> list[Turn]:
        """Sample whole turns for as many as make a batch."""
        turns = [self.waiting.popleft() for _ in range(min(self.sampling.batch, len(self.waiting)))]
        if turns:
            self._sample(turns)
        return turns

    def cancel(self, turn: Turn) -> None:
        """Let a conversation wait no more."""
        if turn in self.waiting:
            self.waiting.remove(turn)

    def clear(self) -> None:
        """Forget everybody."""
        self.waiting.clear()

    def _sample(self, turns: list[Turn]) -> None:
        longest = max(len(turn.prompt) for turn in turns)
        ids = [[0] * (longest - len(turn.prompt)) + turn.prompt for turn in turns]
        mask = [[0] * (longest - len(turn.prompt)) + [1] * len(turn.prompt) for turn in turns]
        device = self.model.device
        config = GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=max(turn.room for turn in turns), eos_token_id=self.stops, pad_token_id=self.stops[0]
        )
        self.fed += sum(len(turn.prompt) for turn in turns)
        self.model.generate(
            torch.tensor(ids, device=device),
            attention_mask=torch.tensor(mask, device=device),
            generation_config=config,
            logits_processor=LogitsProcessorList([_Choice(turns, self.sampling, self.stops)]),
        )


class _Choice(LogitsProcessor):
    """Chooses the next tokens in place of `generate`; for a turn that is over, the stop token."""

    def __init__(self, turns: list[Turn], sampling: Sampling, stops: list[int]) -> None:
        self.turns = dict(enumerate(turns))
        self.sampling = sampling
        self.stops = sorted(stops)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores [turns, vocabulary] of which only one each is possible."""
        only = torch.full_like(scores, -torch.inf)
        only[:, self.stops[0]] = 0.0
        going = list(self.turns.items())
        if going:
            chosen = choose(scores[[at for at, _ in going]], [turn for _, turn in going], self.sampling)
            for (at, turn), (token, logprob) in zip(going, chosen, strict=True):
                only[at] = -torch.inf
                only[at, token] = 0.0
                if turn.take(token, logprob, self.stops):
                    del self.turns[at]
        return only
