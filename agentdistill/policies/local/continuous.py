"""Continuous batching: finished conversations leave the batch and waiting ones join it, whenever there is room.

What a conversation's tokens left behind in the model is kept for its next turn, or for whoever forks from it, within a
bound on bytes; only ids that are new are fed.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch

from agentdistill.policies.local.prefixes import Prefixes
from agentdistill.policies.local.sampling import Sampling, Turn, choose
from agentdistill.policies.local.slots import Shape, Slots

# A pass over a few tokens costs little less than one over many: who wants to join waits for company, a share of those
# who are there, but for no more than so many tokens of theirs.
COMPANY = 4
PATIENCE = 8


@dataclass(eq=False)
class _Row:
    turn: Turn
    held: int = 0  # how many of its tokens are in its slot
    over: bool = False

    @property
    def most(self) -> int:
        return len(self.turn.prompt) + self.turn.room


class ContinuousBatch:
    """Samples turns of all conversations that are there.

    Attributes:
        fed: tokens that were fed to the model so far, padding left out; for tests and measurements.
    """

    def __init__(self, model: Any, shape: Shape, sampling: Sampling, stops: Collection[int]) -> None:
        self.model = model
        self.sampling = sampling
        self.stops = stops
        self.slots = Slots(model, shape)
        self.prefixes = Prefixes(shape.bytes)
        self.waiting: deque[Turn] = deque()
        self.rows: list[_Row] = []
        self.fed = 0
        self._waited = 0
        self._weights: tuple[tuple[int, int], ...] = ()

    @property
    def bytes(self) -> int:
        """Of all keys and values: of live conversations and of those kept."""
        return self.slots.bytes + self.prefixes.bytes

    def submit(self, turn: Turn) -> None:
        """Let a conversation wait for a place in the batch."""
        self.waiting.append(turn)

    @torch.inference_mode()
    def advance(self) -> list[Turn]:
        """Take in who waits, sample one token for everybody, and give back the turns that are over (may be none)."""
        if joining := self._admit():
            self._prefill(joining)
        elif self.rows:
            self._waited += bool(self.waiting)
            self.fed += len(self.rows)
            last = [[row.turn.sampled[-1]] for row in self.rows]
            self._sample(self.rows, self.slots.feed(0, last, [row.held for row in self.rows]), last)
        return self._leave()

    @torch.inference_mode()
    def cancel(self, turn: Turn) -> None:
        """Let a conversation leave without its turn."""
        if turn in self.waiting:
            self.waiting.remove(turn)
        for at, row in enumerate(self.rows):
            if row.turn is turn:
                self._close(at)
                return

    def clear(self) -> None:
        """Forget everybody and everything."""
        self.waiting.clear()
        self.rows.clear()
        self.slots.clear()
        self.prefixes.clear()

    def _admit(self) -> list[_Row]:
        """Waiting conversations for which there is room, with what is known of them in their slots."""
        joining: list[_Row] = []
        if self.rows and len(self.waiting) * COMPANY < len(self.rows) and self._waited < PATIENCE:
            return []
        longest = max((row.most for row in self.rows), default=0)
        while self.waiting:
            row = _Row(self.waiting[0])
            count = len(self.rows) + len(joining) + 1
            need = self.slots.bytes_of(count, max(longest, row.most))
            if count > 1 and (count > self.sampling.batch or need > self.sampling.cache_bytes):
                break
            self.waiting.popleft()
            joining.append(row)
            longest = max(longest, row.most)
        if not joining:
            return []
        self._waited = 0
        self._forget_stale()
        found = {id(row): self.prefixes.find(row.turn.prompt[:-1]) for row in joining}
        for row in joining:
            row.held = sum(piece.keys.shape[1] for piece in found[id(row)])
        live = len(self.rows)
        self.slots.reserve(live + len(joining), longest, live, self.sampling.cache_bytes)
        self._shrink()
        joining.sort(key=lambda row: len(row.turn.prompt) - row.held)
        for at, row in enumerate(joining, live):
            for piece in found[id(row)]:
                self.slots.write(at, piece.start, piece.keys, piece.values)
        self.rows += joining
        return joining

    def _prefill(self, joining: list[_Row]) -> None:
        """Feed what is new of each, conversations with about as much together, and sample their first tokens."""
        first = len(self.rows) - len(joining)
        while joining:
            fewest = len(joining[0].turn.prompt) - joining[0].held
            count = 0
            for row in joining:
                new = len(row.turn.prompt) - row.held
                if count and ((count + 1) * new > self.sampling.prefill_tokens or new > 2 * fewest + 32):
                    break
                count += 1
            group, joining = joining[:count], joining[count:]
            self.fed += sum(len(row.turn.prompt) - row.held for row in group)
            most = max(1, self.sampling.prefill_tokens // count)
            while (left := max(len(row.turn.prompt) - row.held for row in group)) > 0:
                # Only a conversation alone is longer than what may be fed at once.
                tokens = [row.turn.prompt[row.held :][: most if left > most else None] for row in group]
                logits = self.slots.feed(first, tokens, [row.held for row in group])
                if left > most:
                    group[0].held += len(tokens[0])
                else:
                    self._sample(group, logits, tokens)
            first += count

    def _sample(self, rows: list[_Row], logits: torch.Tensor, fed: list[list[int]]) -> None:
        chosen = choose(logits, [row.turn for row in rows], self.sampling)
        for row, (token, logprob), tokens in zip(rows, chosen, fed, strict=True):
            row.held += len(tokens)
            row.over = row.turn.take(token, logprob, self.stops)

    def _leave(self) -> list[Turn]:
        """Keep what the finished ones leave behind, and close the gaps."""
        over = [(at, row) for at, row in enumerate(self.rows) if row.over]
        for at, row in reversed(over):
            ids = [*row.turn.prompt, *row.turn.sampled[:-1]]
            if self.slots.bytes < self.sampling.cache_bytes:
                self.prefixes.keep(ids, functools.partial(self.slots.read, at))
            self._close(at)
        if over:
            self._shrink()
        return [row.turn for _, row in over]

    def _close(self, at: int) -> None:
        """Take a row out; the last one moves into its place."""
        last = self.rows.pop()
        if at < len(self.rows):
            self.slots.move(len(self.rows), at, last.held)
            self.rows[at] = last

    def _shrink(self) -> None:
        self.prefixes.shrink(max(0, self.sampling.cache_bytes - self.slots.bytes))

    def _forget_stale(self) -> None:
        """What other weights left behind is worthless: training in place and loading are told by torch's own counts."""
        weights = tuple(
            (each.data_ptr(), 0 if each.is_inference() else each._version) for each in self.model.parameters()
        )
        if weights != self._weights:
            self.prefixes.clear()
            self._weights = weights
