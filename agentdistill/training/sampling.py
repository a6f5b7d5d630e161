"""Training rows: what can be asked of them, and which of them a step draws."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypeGuard

import numpy as np

from agentdistill.errors import NothingSupervisedError
from agentdistill.records import PreferencePair, Segment

Rows = Sequence[Segment] | Sequence[PreferencePair]


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
    for name in ("loss_mask", "weights", "logprobs", "teacher_logprobs", "by_teacher", "teacher_top"):
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


def likeliest_counts(row: Segment) -> set[int]:
    """How many of the teacher's likeliest tokens a row knows of its tokens with loss: one number, if all alike."""
    if not row.teacher_top:
        return {0}
    return {len(few) for few, counts in zip(row.teacher_top[1:], row.loss_mask[1:], strict=True) if counts}


class Sampler:
    """Draws rows without replacement, in an order shuffled anew each time all have been drawn.

    Rows with the same context follow one another, so that it is computed once for all that a step draws of them.

    Raises:
        NothingSupervisedError: there is no row, or one without a supervised token.
    """

    def __init__(self, rows: Rows, seed: int) -> None:
        if not rows or not all(row.supervised for row in sides(rows)):
            raise NothingSupervisedError("a pool of training data is empty or has a row without a supervised token")
        self.rows = rows
        self.luck = np.random.default_rng(seed)
        self.families = _families(rows)
        self.order: list[int] = []
        self.owed = 0.0

    def draw(self, tokens: float) -> Rows:
        """Rows with about `tokens` supervised tokens; what is drawn too much is drawn less the next time."""
        self.owed += tokens
        drawn: list[int] = []
        while self.owed > 0:
            if not self.order:
                shuffled = self.luck.permutation(len(self.families)).tolist()
                self.order = [row for family in shuffled for row in self.families[family]]
            drawn.append(self.order.pop())
            self.owed -= _counted(self.rows[drawn[-1]])
        return [self.rows[index] for index in drawn]  # type: ignore[return-value]


def _families(rows: Rows) -> list[list[int]]:
    """Rows by what stands before their first token with loss: several recoveries from one state are one family."""
    found: dict[tuple[int, ...], list[int]] = {}
    for index, row in enumerate(rows):
        found.setdefault(_context(row), []).append(index)  # type: ignore[arg-type]
    return list(found.values())


def _context(row: Segment | PreferencePair) -> tuple[int, ...]:
    first = row.chosen if isinstance(row, PreferencePair) else row
    return first.input_ids[: first.loss_mask.index(True)]


def _counted(row: Segment | PreferencePair) -> int:
    return row.chosen.supervised if isinstance(row, PreferencePair) else row.supervised
