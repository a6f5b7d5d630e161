"""Keys and values that are kept between turns, by the exact ids they stand for: a tree in which forks share prefixes.

Each node holds a run of ids that follows its parent's, and their keys and values. Whoever asks with ids gets the
longest prefix of them that is there: whichever conversation left it, it is the same. Past the bound, the end that was
used the longest time ago is forgotten first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

Read = Callable[[int, int], tuple[torch.Tensor, torch.Tensor]]


@dataclass(eq=False)
class _Node:
    ids: np.ndarray
    keys: torch.Tensor  # [layers, ids, heads, width]
    values: torch.Tensor
    used: int
    parent: _Node | None = None
    children: dict[int, _Node] = field(default_factory=dict)


@dataclass(frozen=True)
class Piece:
    """Keys and values [layers, tokens, heads, width] of the tokens from `start` on."""

    start: int
    keys: torch.Tensor
    values: torch.Tensor


class Prefixes:
    """What is kept. `bytes_per_token` is what keys and values of one token take, in all layers together."""

    def __init__(self, bytes_per_token: int) -> None:
        self.bytes_per_token = bytes_per_token
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        nothing = torch.empty(0)
        self._root = _Node(np.empty(0, dtype=np.int64), nothing, nothing, 0)
        self._clock = 0
        self.tokens = 0

    @property
    def bytes(self) -> int:
        """Of all that is kept."""
        return self.tokens * self.bytes_per_token

    def find(self, ids: list[int]) -> list[Piece]:
        """The longest kept prefix of `ids`, in pieces one after the other; what was found counts as used now."""
        self._clock += 1
        pieces = []
        for node, start, same in self._walk(np.asarray(ids)):
            node.used = self._clock
            pieces.append(Piece(start, node.keys[:, :same], node.values[:, :same]))
        return pieces

    def keep(self, ids: list[int], read: Read) -> None:
        """Add the keys and values of `ids`; ``read(start, stop)`` gives those of its tokens that are not there yet."""
        self._clock += 1
        wanted = np.asarray(ids)
        last, done = self._root, 0
        for node, start, same in self._walk(wanted):
            node.used = self._clock
            last, done = node, start + same
            if same < len(node.ids) and done < len(wanted):
                self._split(node, same)
        if done < len(wanted):
            keys, values = read(done, len(wanted))
            last.children[int(wanted[done])] = _Node(wanted[done:].copy(), keys, values, self._clock, last)
            self.tokens += len(wanted) - done

    def shrink(self, most_bytes: int) -> None:
        """Forget what was used the longest time ago until no more than `most_bytes` are kept."""
        if self.bytes <= most_bytes:
            return
        leaves = sorted(self._leaves(self._root), key=lambda node: node.used, reverse=True)
        while self.bytes > most_bytes and leaves:
            leaf = leaves.pop()
            parent = leaf.parent
            assert parent is not None
            del parent.children[int(leaf.ids[0])]
            self.tokens -= len(leaf.ids)
            if parent is not self._root and not parent.children:
                # A parent was used no earlier than its child: it goes where its own last use puts it.
                at = next((i for i, other in enumerate(leaves) if other.used <= parent.used), len(leaves))
                leaves.insert(at, parent)

    def _walk(self, ids: np.ndarray) -> Iterator[tuple[_Node, int, int]]:
        """Nodes along `ids`: each with where it starts and how many of its ids are the same (at least one)."""
        node, start = self._root, 0
        while start < len(ids):
            child = node.children.get(int(ids[start]))
            if child is None:
                return
            size = min(len(child.ids), len(ids) - start)
            differing = np.flatnonzero(child.ids[:size] != ids[start : start + size])
            same = int(differing[0]) if differing.size else size
            yield child, start, same
            if same < len(child.ids):
                return
            node, start = child, start + same

    def _split(self, node: _Node, at: int) -> None:
        """Cut a node in two: it keeps its first `at` ids, a new child of it has the rest, and all its children."""
        rest = _Node(
            node.ids[at:].copy(), node.keys[:, at:].clone(), node.values[:, at:].clone(), node.used, node, node.children
        )
        for child in rest.children.values():
            child.parent = rest
        node.ids, node.keys, node.values = node.ids[:at].copy(), node.keys[:, :at].clone(), node.values[:, :at].clone()
        node.children = {int(rest.ids[0]): rest}

    def _leaves(self, node: _Node) -> Iterator[_Node]:
        waiting = [node]
        while waiting:
            node = waiting.pop()
            if not node.children and node is not self._root:
                yield node
            waiting.extend(node.children.values())
