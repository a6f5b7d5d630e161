"""Training rows for these tests: trees of them, with all that any loss may want to know."""

from __future__ import annotations

from typing import Any

import numpy as np

from agentdistill.losses import Loss, needs_of
from agentdistill.records import PreferencePair, Segment

VOCABULARY = 60


def tree(count: int, seed: int = 0, *, root: int = 24, tail: int = 12, vocabulary: int = VOCABULARY) -> list[Segment]:
    """Rows that begin alike; every second one shares more of the beginning; some of the root carries loss too."""
    luck = np.random.default_rng(seed)
    common, middle = (luck.integers(0, vocabulary, size).tolist() for size in (root, 10))
    made = []
    for number in range(count):
        own = luck.integers(0, vocabulary, int(luck.integers(2, tail + 1))).tolist()
        ids = common + (middle if number % 2 else []) + own
        mask = [at % 7 == 3 for at in range(len(ids) - len(own))] + [True] * len(own)
        made.append(told(f"{seed}-{number}", ids, mask, luck, vocabulary))
    return made


def told(name: str, ids: list[int], mask: list[bool], luck: np.random.Generator, vocabulary: int) -> Segment:
    """A row that says everything of its tokens."""
    length = len(ids)
    scores = luck.normal(size=(length, vocabulary)) * 2
    likely = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    best = np.argsort(-likely, axis=1)[:, :5]
    return Segment(
        id=name,
        kind="recovery",
        trajectory_id=name,
        input_ids=tuple(ids),
        loss_mask=tuple(mask),
        weights=tuple((0.5 + luck.random(length)).tolist()),
        logprobs=tuple((-4 * luck.random(length)).tolist()),
        teacher_logprobs=tuple((-4 * luck.random(length)).tolist()),
        by_teacher=tuple((luck.random(length) < 0.5).tolist()),
        teacher_top=tuple(tuple((int(token), float(likely[at, token])) for token in best[at]) for at in range(length)),
    )


def without(row: Segment, *names: str) -> Segment:
    """A row that says less."""
    nothing: dict[str, Any] = dict.fromkeys(names, ())
    return row.model_copy(update=nothing)


def pairs(count: int, seed: int = 0) -> list[PreferencePair]:
    """Pairs of ways to go on from one state: both sides begin alike."""
    sides = tree(2 * count, seed)
    return [
        PreferencePair(
            id=f"pair-{seed}-{at}",
            trajectory_id="t",
            step=1,
            chosen=sides[2 * at],
            rejected=sides[2 * at + 1],
            source="takeover",
        )
        for at in range(count)
    ]


def rows_for(loss: Loss, count: int = 6, seed: int = 0) -> list[Segment] | list[PreferencePair]:
    """What a loss learns from."""
    return pairs(count, seed) if "pairs" in needs_of(loss) else tree(count, seed)
