"""From training rows to tensors: which rows a step draws, which of them go through the model together, and padding."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
import torch

from agentdistill.errors import NothingSupervisedError
from agentdistill.records import PreferencePair, Segment

Rows = Sequence[Segment] | Sequence[PreferencePair]


@dataclass(frozen=True)
class Batch:
    """Rows that go through the model together, right-padded.

    Attributes:
        rows: as they lie in the tensors; if they are `paired`, 2i is the chosen and 2i + 1 the rejected side of pair i.
        ids: [rows, length] token ids, 0 where padded.
        mask: [rows, length] bool, which of them carry loss.
        weights: [rows, length], 1 where a row says nothing.
        logprobs: [rows, length], NaN where a row says nothing.
        teacher_logprobs: [rows, length], NaN where a row says nothing.
        by_teacher: [rows, length] bool.
    """

    rows: tuple[Segment, ...]
    ids: torch.Tensor
    mask: torch.Tensor
    weights: torch.Tensor
    logprobs: torch.Tensor
    teacher_logprobs: torch.Tensor
    by_teacher: torch.Tensor
    paired: bool


def micro_batches(rows: Rows, most_tokens: int) -> list[Batch]:
    """Rows of similar length together, at most `most_tokens` cells each (unless a single row or pair has more)."""
    units = [(each.chosen, each.rejected) if isinstance(each, PreferencePair) else (each,) for each in rows]
    batches: list[list[Segment]] = []
    for unit in sorted(units, key=_longest):
        if batches and (len(batches[-1]) + len(unit)) * _longest(unit) <= most_tokens:
            batches[-1].extend(unit)
        else:
            batches.append(list(unit))
    return [_pad(batch, paired=are_pairs(rows)) for batch in batches]


def padded(rows: Sequence[torch.Tensor], value: float) -> torch.Tensor:
    """Tensors of different lengths as one [rows, length], filled up with `value`."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)


def are_pairs(rows: Rows) -> TypeGuard[Sequence[PreferencePair]]:
    """Whether these are preference pairs."""
    return any(isinstance(row, PreferencePair) for row in rows)


def sides(rows: Rows) -> Iterator[Segment]:
    """All segments: the rows themselves, or both sides of each pair."""
    for row in rows:
        yield from (row.chosen, row.rejected) if isinstance(row, PreferencePair) else (row,)


def supervised_tokens(rows: Rows) -> int:
    """How many tokens carry loss; of a pair, those of its chosen side."""
    return sum(_counted(row) for row in rows)


def ill_measured(row: Segment) -> Iterator[str]:
    """Which of the things a row says of its tokens have another length than its ids."""
    for name in ("loss_mask", "weights", "logprobs", "teacher_logprobs", "by_teacher"):
        values = getattr(row, name)
        if len(values) != len(row.input_ids) and (values or name == "loss_mask"):
            yield name


def lacking(row: Segment) -> Iterator[str]:
    """What a row does not say of each token that carries loss, by the names that losses need it under."""
    for name, values in (("logprobs", row.logprobs), ("teacher_logprobs", row.teacher_logprobs)):
        if not values or any(math.isnan(each) for each, counts in zip(values, row.loss_mask, strict=True) if counts):
            yield name
    if not row.by_teacher:
        yield "by_teacher"


class Sampler:
    """Draws rows without replacement, in an order shuffled anew each time all have been drawn.

    Raises:
        NothingSupervisedError: there is no row, or one without a supervised token.
    """

    def __init__(self, rows: Rows, seed: int) -> None:
        if not rows or not all(row.supervised for row in sides(rows)):
            raise NothingSupervisedError("a pool of training data is empty or has a row without a supervised token")
        self.rows = rows
        self.luck = np.random.default_rng(seed)
        self.order: list[int] = []
        self.owed = 0.0

    def draw(self, tokens: float) -> Rows:
        """Rows with about `tokens` supervised tokens; what is drawn too much is drawn less the next time."""
        self.owed += tokens
        drawn: list[int] = []
        while self.owed > 0:
            if not self.order:
                self.order = self.luck.permutation(len(self.rows)).tolist()
            drawn.append(self.order.pop())
            self.owed -= _counted(self.rows[drawn[-1]])
        return [self.rows[index] for index in drawn]  # type: ignore[return-value]


def _counted(row: Segment | PreferencePair) -> int:
    return row.chosen.supervised if isinstance(row, PreferencePair) else row.supervised


def _longest(unit: Sequence[Segment]) -> int:
    return max(len(row.input_ids) for row in unit)


def _pad(rows: Sequence[Segment], paired: bool) -> Batch:
    def floats(values: Sequence[tuple[float, ...]], missing: float) -> torch.Tensor:
        filled = [each or (missing,) * len(row.input_ids) for each, row in zip(values, rows, strict=True)]
        return padded([torch.tensor(each, dtype=torch.get_default_dtype()) for each in filled], missing)

    owned = [row.by_teacher or (False,) * len(row.input_ids) for row in rows]
    return Batch(
        rows=tuple(rows),
        ids=padded([torch.tensor(row.input_ids) for row in rows], 0),
        mask=padded([torch.tensor(row.loss_mask) for row in rows], False),
        weights=floats([row.weights for row in rows], 1.0),
        logprobs=floats([row.logprobs for row in rows], math.nan),
        teacher_logprobs=floats([row.teacher_logprobs for row in rows], math.nan),
        by_teacher=padded([torch.tensor(each) for each in owned], False),
        paired=paired,
    )
