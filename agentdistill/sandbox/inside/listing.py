"""What an image has, as its first container was found: told to each later one, so that it need not read it again.

A listing is bytes, of which only the directories that are asked for are decoded. For each directory, it has what is in
it with inode, ctime and mtime as the kernel had them.

This module uses the standard library only and runs on Python 3.9: it is copied into sandboxes.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Listed = tuple[bytes, int, int, bytes, int, int, int, int, bool]
    """Name, kind, mode with owner, and digest, target or nothing, as in a directory object; inode; ctime and mtime in
    nanoseconds; size of a file, or of a directory where its own list begins; and whether it is or holds a file that has
    several names."""

_MAGIC = b"I1"
_HEAD = struct.Struct(">2s?Q")
_COUNT = struct.Struct(">I")
_ITEM = struct.Struct(">BHIIQqqQ?HH")


class Listing:
    """A listing to read from.

    Args:
        content: its bytes.

    Raises:
        ValueError: these are no such bytes.
    """

    def __init__(self, content: bytes) -> None:
        if content[:2] != _MAGIC:
            raise ValueError("not a listing of an image")
        _, self.ctime_tells, self.root = _HEAD.unpack_from(content)
        self._content = content

    def directory(self, at: int) -> dict[bytes, Listed]:
        """By name, what is in the directory whose list begins there."""
        found: dict[bytes, Listed] = {}
        content = self._content
        (count,) = _COUNT.unpack_from(content, at)
        at += _COUNT.size
        for _ in range(count):
            kind, mode, user, group, inode, ctime, mtime, size, shared, name_length, value_length = _ITEM.unpack_from(
                content, at
            )
            at += _ITEM.size
            name = content[at : at + name_length]
            at += name_length
            value = content[at : at + value_length]
            at += value_length
            mode |= user << 16 | group << 48
            found[name] = name, kind, mode, value, inode, ctime, mtime, size, shared
        return found


class ListingWriter:
    """Makes a listing; directories come after those in them, the root last.

    Args:
        ctime_tells: whether a file's ctime tells of every change of its content.
    """

    def __init__(self, ctime_tells: bool) -> None:
        self._ctime_tells = ctime_tells
        self._parts: list[bytes] = []
        self._at = _HEAD.size

    def add(self, items: Sequence[Listed]) -> int:
        """Where the list of a directory with these things in it begins."""
        began = self._at
        parts = [_COUNT.pack(len(items))]
        for name, kind, mode, value, inode, ctime, mtime, size, shared in items:
            numbers = mode & 0xFFFF, mode >> 16 & 0xFFFFFFFF, mode >> 48, inode, ctime, mtime, size, shared
            parts.append(_ITEM.pack(kind, *numbers, len(name), len(value)) + name + value)
        self._parts += parts
        self._at += sum(map(len, parts))
        return began

    def content(self, root: int) -> bytes:
        """The bytes of the listing whose root begins there."""
        return b"".join([_HEAD.pack(_MAGIC, self._ctime_tells, root), *self._parts])
