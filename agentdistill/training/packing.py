"""From rows to what goes through the model together: what rows have in common stands there once, and nothing is padded.

The rows of a micro-batch that begin with the same ids form a tree (a failed run and its recoveries; the two sides of a
pair; under one system prompt, all of them). Each of its nodes is a stretch of tokens that is computed once, in the
context of the nodes above it. All nodes lie one behind the other in a single row; `agentdistill.training.attention`
lets each see itself and what is above it, and position ids count along the way from the root. A token that carries loss
is predicted where the token before it stands, which may be the last one of a node above.

A model that this cannot be done with (see `agentdistill.training.scoring`) gets its rows padded on the right instead.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
import torch

from agentdistill.records import PreferencePair, Segment
from agentdistill.training.sampling import Rows, are_pairs

SHARED = 8
"""Fewer tokens in common are computed again: a node costs more than they do."""


_Unit = tuple[Segment, ...]
"""What stays in one batch: a row, or both sides of a pair."""


@dataclass(frozen=True)
class Node:
    """A stretch of tokens, and what they come after.

    Attributes:
        start, stop: where it lies in the packed row.
        above: indices of the nodes that come before it, from the root on.
        depth: tokens in these.
    """

    start: int
    stop: int
    above: tuple[int, ...]
    depth: int


@dataclass(frozen=True)
class Forest:
    """How the tokens of a packed row depend on each other; see `Node`."""

    nodes: tuple[Node, ...]
    masks: dict[tuple[int, int, torch.device], torch.Tensor] = field(default_factory=dict, compare=False)
    """By node, window and device, once made: [queries, keys] bool."""

    @property
    def lengths(self) -> list[int]:
        """How long each node is."""
        return [node.stop - node.start for node in self.nodes]

    def mask(self, index: int, window: int, device: torch.device) -> torch.Tensor:
        """Which tokens of a node [queries] see which of those above it and in it [keys]: none later, none farther.

        Args:
            index: the node.
            window: how many tokens back, itself included, are seen; 0 for all.
            device: where the mask is to be.
        """
        key = (index, window, device)
        if key not in self.masks:
            node = self.nodes[index]
            length = node.stop - node.start
            keys = torch.arange(node.depth + length, device=device)
            back = keys[node.depth :, None] - keys[None, :]
            self.masks[key] = (back >= 0) & (back < window) if window else back >= 0
        return self.masks[key]


@dataclass(frozen=True)
class Batch:
    """Rows that go through the model together, and their tokens that carry loss, row by row, one after another.

    Attributes:
        rows: if they are `paired`, 2i is the chosen and 2i + 1 the rejected side of pair i.
        ids: [1, tokens] of the packed row; or [rows, length], 0 where padded.
        positions: like `ids`, the position of each in its own row.
        forest: how the packed row's tokens depend on each other; `None` where rows are padded.
        predictors: [supervised] where in the flattened `ids` each token that carries loss is predicted.
        row: [supervised] which of `rows` it belongs to.
        said: [supervised] the token itself.
        weights: [supervised], 1 where a row says nothing.
        logprobs, teacher_logprobs: [supervised], NaN where a row says nothing.
        by_teacher: [supervised] bool.
        top_ids, top_logprobs: [supervised, k] the teacher's likeliest tokens; `None` unless all rows know k of them.
        reference: [supervised], or `None`: log-probabilities under the student before it was trained.
        paired: whether the rows are pairs.
    """

    rows: tuple[Segment, ...]
    ids: torch.Tensor
    positions: torch.Tensor
    forest: Forest | None
    predictors: torch.Tensor
    row: torch.Tensor
    said: torch.Tensor
    weights: torch.Tensor
    logprobs: torch.Tensor
    teacher_logprobs: torch.Tensor
    by_teacher: torch.Tensor
    top_ids: torch.Tensor | None
    top_logprobs: torch.Tensor | None
    reference: torch.Tensor | None
    paired: bool

    @property
    def computed(self) -> int:
        """How many tokens go through the model, padding included."""
        return self.ids.numel()

    def to(self, device: torch.device) -> Batch:
        """The same on another device, without the masks that were made of it: they live as long as it is computed."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        forest = None if self.forest is None else Forest(self.forest.nodes)
        return replace(self, forest=forest, **moved)  # type: ignore[arg-type]


def micro_batches(rows: Rows, most_tokens: int, *, packed: bool = True) -> list[Batch]:
    """All rows, in batches of at most `most_tokens` computed tokens each (unless a single row or pair has more)."""
    units: list[_Unit] = [
        (each.chosen, each.rejected) if isinstance(each, PreferencePair) else (each,) for each in rows
    ]
    paired = are_pairs(rows)
    if packed:
        units.sort(key=lambda unit: unit[0].input_ids)  # so that what begins alike stands together
        return _packed(units, _alike(units, most_tokens), most_tokens, paired)
    return [_pad(batch, paired=paired) for batch in _of_one_length(units, most_tokens)]


def _packed(units: list[_Unit], sizes: Sequence[int], most_tokens: int, paired: bool) -> list[Batch]:
    """Units, so many in each batch; in two where that is too much after all."""
    batches: list[Batch] = []
    begin = 0
    for size in sizes:
        some = units[begin : begin + size]
        begin += size
        batch = _pack([row for unit in some for row in unit], paired=paired)
        if batch.computed > most_tokens and size > 1:
            batches += _packed(some, (size // 2, size - size // 2), most_tokens, paired)
        else:
            batches.append(batch)
    return batches


def _alike(units: Sequence[_Unit], most_tokens: int) -> list[int]:
    """How many units, one after the other, make a batch: by what each has in common with the one before."""
    sizes: list[int] = []
    cells, last = 0, np.empty(0, dtype=np.int64)
    for unit in units:
        ids = [_needed(row) for row in unit]
        alone = len(ids[0]) + sum(len(each) - _counted(_common(ids[0], each), 0) for each in ids[1:])
        more = alone - _counted(_common(last, ids[0]), 0)
        if sizes and cells + more <= most_tokens:
            sizes[-1] += 1
            cells += more
        else:
            sizes.append(1)
            cells = alone
        last = ids[0]
    return sizes


def _of_one_length(units: Sequence[_Unit], most_tokens: int) -> list[list[Segment]]:
    """What is about as long stands together, so that little is padded."""

    def longest(unit: Sequence[Segment]) -> int:
        return max(len(_needed(row)) for row in unit)

    batches: list[list[Segment]] = []
    for unit in sorted(units, key=longest):
        if batches and (len(batches[-1]) + len(unit)) * longest(unit) <= most_tokens:
            batches[-1].extend(unit)
        else:
            batches.append(list(unit))
    return batches


def _needed(row: Segment) -> np.ndarray:
    """The ids that have to be computed: those before the last one that carries loss."""
    last = len(row.loss_mask) - 1 - row.loss_mask[::-1].index(True)
    return np.asarray(row.input_ids[:last] if last else row.input_ids[:1], dtype=np.int64)


def _common(first: np.ndarray, second: np.ndarray) -> int:
    """How many ids two rows begin with alike."""
    shorter = min(len(first), len(second))
    differing = np.flatnonzero(first[:shorter] != second[:shorter])
    return int(differing[0]) if len(differing) else shorter


def _counted(common: int, depth: int) -> int:
    return common if common - depth >= SHARED else depth


def _pack(rows: Sequence[Segment], *, paired: bool) -> Batch:
    ids = [_needed(row) for row in rows]
    order = sorted(range(len(rows)), key=lambda index: ids[index].tolist())
    alike = [_common(ids[a], ids[b]) for a, b in itertools.pairwise(order)]
    nodes: list[Node] = []
    laid: list[np.ndarray] = []
    ways: dict[int, tuple[int, ...]] = {}

    def lay(first: int, last: int, above: tuple[int, ...], depth: int) -> None:
        """Lay what the rows `order[first:last]` have beyond `depth`."""
        common = min(alike[first : last - 1], default=len(ids[order[first]]))
        if _counted(common, depth) > depth or last - first == 1:
            if common > depth:
                start = nodes[-1].stop if nodes else 0
                nodes.append(Node(start, start + common - depth, above, depth))
                laid.append(ids[order[first]][depth:common])
                above = (*above, len(nodes) - 1)
            depth = common
        if last - first == 1:
            ways[order[first]] = above
            return
        begin = first
        for at in range(first + 1, last + 1):
            if at == last or _counted(alike[at - 1], depth) == depth:
                lay(begin, at, above, depth)
                begin = at

    lay(0, len(rows), (), 0)
    predictors = []
    for index, row in enumerate(rows):
        places = np.concatenate([np.arange(nodes[each].start, nodes[each].stop) for each in ways[index]])
        predictors.append(places[np.asarray(_supervised(row), dtype=np.int64) - 1])
    positions = [np.arange(node.depth, node.depth + node.stop - node.start) for node in nodes]
    return _batch(
        rows,
        ids=torch.from_numpy(np.concatenate(laid))[None],
        positions=torch.from_numpy(np.concatenate(positions))[None],
        forest=Forest(tuple(nodes)),
        predictors=torch.from_numpy(np.concatenate(predictors)),
        paired=paired,
    )


def _pad(rows: Sequence[Segment], *, paired: bool) -> Batch:
    ids = [torch.from_numpy(_needed(row)) for row in rows]
    padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
    predictors = [
        np.asarray(_supervised(row), dtype=np.int64) - 1 + index * padded.shape[1] for index, row in enumerate(rows)
    ]
    return _batch(
        rows,
        ids=padded,
        positions=torch.arange(padded.shape[1]).expand_as(padded),
        forest=None,
        predictors=torch.from_numpy(np.concatenate(predictors)),
        paired=paired,
    )


def _batch(
    rows: Sequence[Segment],
    *,
    ids: torch.Tensor,
    positions: torch.Tensor,
    forest: Forest | None,
    predictors: torch.Tensor,
    paired: bool,
) -> Batch:
    wanted = [_supervised(row) for row in rows]

    def told(name: str, missing: object) -> list[object]:
        """What the rows say of their tokens that carry loss, or `missing`."""
        found: list[object] = []
        for row, places in zip(rows, wanted, strict=True):
            values = getattr(row, name)
            found += [values[place] for place in places] if values else [missing] * len(places)
        return found

    def floats(name: str, missing: float) -> torch.Tensor:
        return torch.tensor(told(name, missing), dtype=torch.get_default_dtype())

    top = cast("list[tuple[tuple[int, float], ...]]", told("teacher_top", ()))
    k = len(top[0]) if top and len({len(each) for each in top}) == 1 else 0
    counts = torch.tensor([len(places) for places in wanted])
    return Batch(
        rows=tuple(rows),
        ids=ids,
        positions=positions,
        forest=forest,
        predictors=predictors,
        row=torch.repeat_interleave(torch.arange(len(rows)), counts),
        said=torch.tensor(told("input_ids", 0), dtype=torch.long),
        weights=floats("weights", 1.0),
        logprobs=floats("logprobs", math.nan),
        teacher_logprobs=floats("teacher_logprobs", math.nan),
        by_teacher=torch.tensor(told("by_teacher", False), dtype=torch.bool),
        top_ids=torch.tensor([[token for token, _ in each] for each in top]) if k else None,
        top_logprobs=torch.tensor([[each for _, each in few] for few in top], dtype=torch.float32) if k else None,
        reference=None,
        paired=paired,
    )


def _supervised(row: Segment) -> list[int]:
    """Where the tokens are that carry loss and are predicted: the first of a row is not."""
    return [place for place in np.flatnonzero(row.loss_mask).tolist() if place]
