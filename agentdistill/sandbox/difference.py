"""What has to be done to make one tree into another: only what differs between them, found in their Merkle trees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from agentdistill.sandbox.inside.tree_objects import (
    CHMOD,
    DIRECTORY,
    FILE,
    MAKE_DIRECTORY,
    MAKE_LINK,
    MAKE_SPECIAL,
    MAKE_SYMLINK,
    NO_LINKS,
    REMOVE,
    SYMLINK,
    WRITE,
    decode_directory,
    decode_links,
    decode_tree,
)

if TYPE_CHECKING:
    from agentdistill.sandbox.inside.tree_objects import Entry, Links, Operation

Read = Callable[[bytes], bytes]
"""The directory, links or tree object with a digest."""


def difference(present: bytes, target: bytes, read: Read) -> list[Operation]:
    """Operations that make the tree `present` into the tree `target`, to be done in order.

    A WRITE has the digest of the content as its value and no size yet. What goes is removed before anything is made,
    so that a full workspace has room; links come after the files they are names of; and modes come last and inside out,
    since a directory may close the way to what is in it. All names of a file with several names stand together: where
    they differ, all of them are made anew.

    Args:
        present: digest of a tree.
        target: digest of a tree.
        read: gives the objects of both, as far as they differ.

    Raises:
        ValueError: something is no such object.
    """
    if present == target:
        return []
    have_mode, have, have_links = decode_tree(read(present))
    want_mode, want, want_links = decode_tree(read(target))
    walk = _Walk(read, _groups(have_links, read), _groups(want_links, read))
    walk.change(b".", (have_mode, have), (want_mode, want))
    while walk.waiting:
        walk.directory(*walk.waiting.pop())
    return [*walk.removed, *walk.made, *walk.linked, *reversed(walk.modes)]


class _Walk:
    """The operations found so far, and the pairs of directories that are still to be compared."""

    def __init__(self, read: Read, have: dict[bytes, tuple[bytes, ...]], want: dict[bytes, tuple[bytes, ...]]) -> None:
        self._read = read
        self._group_of = want
        self._anew = {path for path in have.keys() | want.keys() if have.get(path) != want.get(path)}
        self._on_the_way = {above for path in self._anew for above in _above(path)}
        self.removed: list[Operation] = []
        self.made: list[Operation] = []
        self.linked: list[Operation] = []
        self.modes: list[Operation] = []
        self.waiting: list[tuple[bytes, bytes | None, bytes]] = []

    def change(self, path: bytes, have: tuple[int, bytes], want: tuple[int, bytes]) -> None:
        """A directory (its mode and digest) that is there becomes another."""
        mode = have[0]
        if have[1] != want[1] or path in self._on_the_way:
            self.waiting.append((path, have[1], want[1]))
            if mode & 0o700 != 0o700:
                mode |= 0o700
                self.removed.append((CHMOD, path, mode, 0, b""))
        if mode != want[0]:
            self.modes.append((CHMOD, path, want[0], 0, b""))

    def directory(self, path: bytes, have: bytes | None, want: bytes) -> None:
        """Compare what is in a directory; without `have`, it has just been made."""
        present = {} if have is None else {entry[0]: entry for entry in decode_directory(self._read(have))}
        target = decode_directory(self._read(want))
        prefix = b"" if path == b"." else path + b"/"
        looked_into = path in self._on_the_way
        for entry in target:
            there = present.pop(entry[0], None)
            if there != entry or looked_into:
                self._entry(prefix + entry[0], there, entry)
        for name in present:
            self.removed.append((REMOVE, prefix + name, 0, 0, b""))

    def _entry(self, path: bytes, have: Entry | None, want: Entry) -> None:
        _, kind, mode, value = want
        if have is not None and have[1] == kind == DIRECTORY:
            self.change(path, (have[2], have[3]), (mode, value))
        elif have is not None and have[1] == kind and have[3] == value and path not in self._anew:
            if have[2] != mode:
                self.made.append((CHMOD, path, mode, 0, b""))
        else:
            if have is not None:
                self.removed.append((REMOVE, path, 0, 0, b""))
            self._make(path, kind, mode, value)

    def _make(self, path: bytes, kind: int, mode: int, value: bytes) -> None:
        first = self._group_of.get(path, (path,))[0]
        if kind == DIRECTORY:
            self.made.append((MAKE_DIRECTORY, path, 0, 0, b""))
            self.modes.append((CHMOD, path, mode, 0, b""))
            self.waiting.append((path, None, value))
        elif first != path:
            self.linked.append((MAKE_LINK, path, 0, 0, first))
        elif kind == FILE:
            self.made.append((WRITE, path, mode, 0, value))
        elif kind == SYMLINK:
            self.made.append((MAKE_SYMLINK, path, mode, 0, value))
        else:
            self.made.append((MAKE_SPECIAL, path, mode, 0, bytes([kind])))


def _groups(links: bytes, read: Read) -> dict[bytes, tuple[bytes, ...]]:
    """The group of every path that has one."""
    groups: Links = () if links == NO_LINKS else decode_links(read(links))
    return {path: group for group in groups for path in group}


def _above(path: bytes) -> Iterator[bytes]:
    """The directories on the way to a path, the root among them."""
    yield b"."
    at = path.find(b"/")
    while at >= 0:
        yield path[:at]
        at = path.find(b"/", at + 1)
