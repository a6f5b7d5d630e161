"""Plans: the operations that make one kept tree, or one that was seen, into another, with the contents they need."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from agentdistill.errors import SnapshotError
from agentdistill.sandbox.asking import Look
from agentdistill.sandbox.difference import difference
from agentdistill.sandbox.inside.tree_objects import (
    APPEND,
    CHMOD,
    EXTEND,
    MAKE_DIRECTORY,
    MAKE_LINK,
    MAKE_SYMLINK,
    REMOVE,
    WRITE,
    content_digest,
    digest,
    encode_operations,
)
from agentdistill.sandbox.objects import PIECE, Objects
from agentdistill.sandbox.whole import Change

if TYPE_CHECKING:
    from agentdistill.sandbox.inside.tree_objects import Operation

_ZEROS = content_digest((bytes(PIECE),))


class Lacking(SnapshotError):
    """A directory of one of two trees is not known."""


def reader(objects: Objects, beside: Mapping[bytes, bytes] | None = None) -> Callable[[bytes], bytes]:
    """Gives directories from the store, or from `beside` it; raises `Lacking`."""

    def read(name: bytes) -> bytes:
        structure = (beside or {}).get(name) or objects.get(name)
        if structure is None:
            raise Lacking("a directory in the store is lost")
        if digest(structure) != name:
            raise SnapshotError("a directory in the store does not match its digest")
        return structure

    return read


def plan_of(objects: Objects, seen: Look, target: bytes, present: bytes = b"") -> list[Operation] | None:
    """How to make what is `present`, or was seen, into `target`; `None` if a part of one of the trees is not known."""
    try:
        return difference(present or seen.tree, target, reader(objects, seen.structure))
    except Lacking:
        return None


def contents_of(plan: Iterable[Operation]) -> set[bytes]:
    """The digests of the contents that a plan needs."""
    return {value for what, _, _, _, value in plan if what == WRITE}


def filled(objects: Objects, plan: Sequence[Operation]) -> tuple[bytes, list[bytes], int]:
    """The operations with the sizes of contents, the contents that go with them, and the bytes of these.

    Pieces of zeros become holes, so that a file that was sparse takes no more room than it did.
    """
    wanted = [value for what, _, _, _, value in plan if what == WRITE]
    sizes, pieces = objects.sizes(wanted), objects.pieces(wanted)
    if len(sizes) < len(set(wanted)):
        raise SnapshotError("the content of a file is lost")
    sizes.update(objects.sizes(piece for each in pieces.values() for piece in each))
    operations: list[Operation] = []
    contents: list[bytes] = []
    for what, path, mode, _, value in plan:
        if what != WRITE:
            operations.append((what, path, mode, 0, value))
        elif _ZEROS not in pieces.get(value, ()):
            operations.append((WRITE, path, mode, sizes[value], value))
            contents.append(value)
        else:
            operations.append((WRITE, path, 0o600, 0, b""))
            for piece in pieces[value]:
                operations.append((EXTEND if piece == _ZEROS else APPEND, path, 0, sizes[piece], b""))
            contents += [piece for piece in pieces[value] if piece != _ZEROS]
            operations.append((CHMOD, path, mode, 0, b""))
    return encode_operations(operations), contents, sum(sizes[name] for name in contents)


def chosen(plan: Sequence[Operation], wanted: Callable[[Change], bool]) -> list[Operation]:
    """Those operations of a plan that change what is wanted to be changed.

    What lies in a directory that is not made is not made either. Those names of a file that are wanted are names of one
    file.
    """
    removed = {path for what, path, *_ in plan if what == REMOVE}
    made = {path for what, path, *_ in plan if what == MAKE_DIRECTORY}
    left: set[bytes] = set()
    kept: list[Operation] = []
    first = {path: each for each in plan if (path := each[1]) and each[0] not in (REMOVE, CHMOD, MAKE_LINK)}
    stands_for: dict[bytes, bytes] = {}

    def lacks(path: bytes) -> bool:
        parts = path.split(b"/")
        return any(b"/".join(parts[:end]) in left for end in range(1, len(parts) + 1))

    for each in plan:
        what, path, _, _, value = each
        existed = path in removed or (what == CHMOD and path not in made)
        target = os.fsdecode(value) if what == MAKE_SYMLINK else ""
        change = Change("/" if path == b"." else os.fsdecode(b"/" + path), existed, what == REMOVE, target)
        if lacks(path):
            continue
        if not wanted(change):
            if what != CHMOD:
                left.add(path)
            continue
        if what == MAKE_LINK and lacks(value):
            if value in stands_for:
                each = (MAKE_LINK, path, 0, 0, stands_for[value])
            else:
                stands_for[value] = path
                each = (first[value][0], path, *first[value][2:])
        kept.append(each)
    return kept
