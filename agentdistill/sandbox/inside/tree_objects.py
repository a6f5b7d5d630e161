"""The canonical bytes of directory trees and of the operations that change them: spoken on both sides of a sandbox.

A tree is a Merkle tree of *objects*; an object is a string of bytes, and its digest, a SHA-256, is its name:

- a file's content is an object as it is (its digest is that of ``F1`` and the content, so that no file can pass for one
  of the others, whatever somebody writes into it);
- a *directory object* lists what is in a directory: name, kind, mode, and the digest of the content (file), the
  digest of its directory object (directory) or the target (symbolic link);
- a *links object* lists the groups of names that are one file (hard links), by path from the root, groups and names
  in order. That is said once for the whole tree and not in the directories, so that a directory's object depends on
  nothing outside it, and a link between two distant directories is still exact;
- the *tree object* has the mode of the root, the digest of its directory object and that of the links object
  (zeros if no file has two names in the tree). Its digest names the tree.

There are trees with owners and trees without, which have no object in common but contents. Where a tree has owners, a
mode holds user and group too; see `owned`.

Equal trees have equal bytes: every `decode_...` raises ValueError for bytes that its `encode_...` would not have made.
Paths, names and targets are bytes, as the kernel has them. Not part of a tree: times, extended attributes, holes in
sparse files.

This module uses the standard library only and runs on Python 3.9: it is copied into sandboxes.
"""

from __future__ import annotations

import struct
from hashlib import sha256
from operator import lt

TYPE_CHECKING = False
if TYPE_CHECKING:  # a sandbox need not load typing
    from collections.abc import Iterable, Iterator, Sequence

    Entry = tuple[bytes, int, int, bytes]
    """Name, kind, mode (of a symbolic link its owner at most), and digest, target or nothing."""
    Links = tuple[tuple[bytes, ...], ...]
    """Groups of two or more paths that are one file."""
    Operation = tuple[int, bytes, int, int, bytes]
    """What to do, to which path, with which mode, size and value; see the constants."""

# ---- kinds of entries
DIRECTORY, FILE, SYMLINK, FIFO, SOCKET, WHITEOUT = b"dflpsw"
_DIGESTED = (FILE, DIRECTORY)

# ---- operations: each says which of mode, size and value it uses. `size` bytes of content go with WRITE and APPEND.
REMOVE = 1  # whatever is at the path, with all that is below
CHMOD = 2  # mode
MAKE_DIRECTORY = 3  # mode 700 until a CHMOD says otherwise
WRITE = 4  # mode, size, and the digest of the content as value; no value if more of the file follows
APPEND = 5  # size: more of a file that was just written
EXTEND = 6  # size: zeros at the end of a file that was just written, as a hole
MAKE_SYMLINK = 7  # mode: its owner at most; value: the target
MAKE_LINK = 8  # value: the path of the file that it becomes another name of
MAKE_SPECIAL = 9  # mode, value: one byte, the kind

LONGEST_PATH = 3000
"""Bytes of a path in a workspace, which may lie deeper elsewhere; the kernel takes 4096 in all."""
DIGEST = 32
NO_LINKS = bytes(DIGEST)

_CONTENT_MAGIC, _DIRECTORY_MAGIC, _LINKS_MAGIC, _TREE_MAGIC = b"F1", b"D1", b"L1", b"T1"
_OWNED_DIRECTORY_MAGIC, _OWNED_TREE_MAGIC = b"D2", b"T2"
_ENTRY = struct.Struct(">BHHH")
_OWNED_ENTRY = struct.Struct(">BHIIHH")
_TREE = struct.Struct(">2sH32s32s")
_OWNED_TREE = struct.Struct(">2sHII32s32s")
_PERMISSIONS, _NUMBER = 0xFFFF, 0xFFFFFFFF
_COUNT = struct.Struct(">I")
_LENGTH = struct.Struct(">H")
_OPERATION = struct.Struct(">BHIIQHH")
_OFFER = struct.Struct(">32sQ")


def digest(structure: bytes) -> bytes:
    """The name of a directory, links or tree object: 32 bytes."""
    return sha256(structure).digest()


def content_digest(chunks: Iterable[bytes]) -> bytes:
    """The name of a file's content: 32 bytes."""
    summed = sha256(_CONTENT_MAGIC)
    for chunk in chunks:
        summed.update(chunk)
    return summed.digest()


# ---- owners --------------------------------------------------------------------------------------------------------


def owned(mode: int, user: int, group: int) -> int:
    """A mode that holds the numbers of user and group too, as modes of trees with owners do."""
    return mode | user << 16 | group << 48


def owner_of(mode: int) -> tuple[int, int, int]:
    """What `owned` was given."""
    return mode & _PERMISSIONS, mode >> 16 & _NUMBER, mode >> 48


# ---- directories ---------------------------------------------------------------------------------------------------


def encode_directory(entries: Sequence[Entry], *, owners: bool = False) -> bytes:
    """The directory object of entries that are sorted by name; `owners`: of a tree that has them."""
    if owners:
        pack_owned = _OWNED_ENTRY.pack
        owned_parts = [_OWNED_DIRECTORY_MAGIC]
        for name, kind, mode, value in entries:
            owned_parts.append(pack_owned(kind, *owner_of(mode), len(name), len(value)) + name + value)
        return b"".join(owned_parts)
    pack = _ENTRY.pack
    parts = [_DIRECTORY_MAGIC]
    for name, kind, mode, value in entries:
        parts.append(pack(kind, mode, len(name), len(value)) + name + value)
    return b"".join(parts)


def decode_directory(content: bytes) -> list[Entry]:
    """The entries of a directory object, sorted by name.

    Raises:
        ValueError: these are not the bytes of a directory object.
    """
    owners = content[:2] == _OWNED_DIRECTORY_MAGIC
    if not owners and content[:2] != _DIRECTORY_MAGIC:
        raise ValueError("not a directory object")
    entries: list[Entry] = []
    names: list[bytes] = []
    layout = _OWNED_ENTRY if owners else _ENTRY
    unpack, head, at, end = layout.unpack_from, layout.size, 2, len(content)
    whose = 0
    while at < end:
        if at + head > end:
            raise ValueError("a directory object is cut off")
        if owners:
            kind, mode, user, group, name_length, value_length = unpack(content, at)
            whose = owned(0, user, group)
        else:
            kind, mode, name_length, value_length = unpack(content, at)
        at += head
        name = content[at : at + name_length]
        at += name_length
        value = content[at : at + value_length]
        at += value_length
        if kind in _DIGESTED:
            if value_length != DIGEST:
                raise ValueError("a directory object has a digest that is none")
        elif not _is_other(kind, mode, value):
            raise ValueError("a directory object has something that no directory can have")
        if mode > 0o7777:
            raise ValueError("a directory object has a mode that is none")
        entries.append((name, kind, mode | whose, value))
        names.append(name)
    every = b"/".join(names)
    if at != end or not all(names) or not all(map(lt, names, names[1:])):
        raise ValueError("a directory object is cut off or not sorted")
    if every.count(b"/") > len(names) - bool(names) or b"\0" in every or b"." in names or b".." in names:
        raise ValueError("a directory object has a name that no file can have")
    return entries


def _is_other(kind: int, mode: int, value: bytes) -> bool:
    if kind == SYMLINK:
        return mode == 0 and 0 < len(value) < 4096 and b"\0" not in value
    return kind in (FIFO, SOCKET, WHITEOUT) and not value


# ---- hard links ----------------------------------------------------------------------------------------------------


def encode_links(groups: Iterable[Iterable[bytes]]) -> bytes:
    """The links object of groups of paths, in whatever order they come."""
    parts = [_LINKS_MAGIC]
    for group in sorted(sorted(paths) for paths in groups):
        parts.append(_COUNT.pack(len(group)))
        parts += [_LENGTH.pack(len(path)) + path for path in group]
    return b"".join(parts)


def decode_links(content: bytes) -> Links:
    """The groups of a links object, sorted. That their paths exist in the tree is not checked here.

    Raises:
        ValueError: these are not the bytes of a links object.
    """
    if content[:2] != _LINKS_MAGIC or len(content) == 2:
        raise ValueError("not a links object")
    groups: list[tuple[bytes, ...]] = []
    at, seen, total = 2, set(), 0
    try:
        while at < len(content):
            (count,) = _COUNT.unpack_from(content, at)
            at += 4
            group: list[bytes] = []
            for _ in range(count):
                (length,) = _LENGTH.unpack_from(content, at)
                group.append(content[at + 2 : at + 2 + length])
                at += 2 + length
            groups.append(tuple(group))
            seen.update(group)
            total += count
    except struct.error:
        raise ValueError("a links object is cut off") from None
    if at != len(content) or total != len(seen) or any(len(group) < 2 for group in groups):
        raise ValueError("a links object is not canonical")
    if groups != sorted(groups) or any(list(group) != sorted(group) for group in groups):
        raise ValueError("a links object is not sorted")
    if not all(is_path(path) for path in seen):
        raise ValueError("a links object has a path that no file can have")
    return tuple(groups)


def is_path(path: bytes) -> bool:
    """True for a relative path below a root, written in the one way that we write it."""
    return (
        0 < len(path) <= LONGEST_PATH
        and b"\0" not in path
        and all(part not in (b"", b".", b"..") for part in path.split(b"/"))
    )


# ---- trees ---------------------------------------------------------------------------------------------------------


def encode_tree(mode: int, directory: bytes, links: bytes = NO_LINKS, *, owners: bool = False) -> bytes:
    """The tree object: mode of the root, digest of its directory object, digest of the links object."""
    if owners:
        return _OWNED_TREE.pack(_OWNED_TREE_MAGIC, *owner_of(mode), directory, links)
    return _TREE.pack(_TREE_MAGIC, mode, directory, links)


def decode_tree(content: bytes) -> tuple[int, bytes, bytes]:
    """Mode, directory and links (`NO_LINKS` if there are none) of a tree object.

    Raises:
        ValueError: these are not the bytes of a tree object.
    """
    if len(content) == _OWNED_TREE.size:
        magic, mode, user, group, directory, links = _OWNED_TREE.unpack(content)
        if magic != _OWNED_TREE_MAGIC or mode > 0o7777:
            raise ValueError("not a tree object")
        return owned(mode, user, group), directory, links
    if len(content) != _TREE.size:
        raise ValueError("not a tree object")
    magic, mode, directory, links = _TREE.unpack(content)
    if magic != _TREE_MAGIC or mode > 0o7777:
        raise ValueError("not a tree object")
    return mode, directory, links


def references(structure: bytes) -> list[tuple[bytes, bool]]:
    """The digests of all objects that a directory, links or tree object names, each true if it is such a one itself.

    Raises:
        ValueError: it is none of them.
    """
    if structure[:2] in (_DIRECTORY_MAGIC, _OWNED_DIRECTORY_MAGIC):
        entries = decode_directory(structure)
        return [(value, kind == DIRECTORY) for _, kind, _, value in entries if kind in (DIRECTORY, FILE)]
    if structure[:2] == _LINKS_MAGIC:
        decode_links(structure)
        return []
    _, directory, links = decode_tree(structure)
    return [(directory, True)] if links == NO_LINKS else [(directory, True), (links, True)]


# ---- what is sent: operations, and lists of objects ----------------------------------------------------------------


def encode_operations(operations: Iterable[Operation]) -> bytes:
    """Operations in the order in which they are to be done, without the contents of files."""
    pack = _OPERATION.pack
    return b"".join(
        [
            pack(what, *owner_of(mode), size, len(path), len(value)) + path + value
            for what, path, mode, size, value in operations
        ]
    )


def decode_operations(content: bytes) -> Iterator[Operation]:
    """What `encode_operations` was given.

    Raises:
        ValueError: something is cut off, or a path leaves the root. ``.`` is the root itself.
    """
    at, end = 0, len(content)
    while at < end:
        if at + _OPERATION.size > end:
            raise ValueError("an operation is cut off")
        what, mode, user, group, size, path_length, value_length = _OPERATION.unpack_from(content, at)
        at += _OPERATION.size
        path = content[at : at + path_length]
        at += path_length
        value = content[at : at + value_length]
        at += value_length
        if at > end or not (is_path(path) or path == b"."):
            raise ValueError("an operation is cut off or leaves the root")
        yield what, path, owned(mode, user, group), size, value


def encode_offer(objects: Iterable[tuple[bytes, int]]) -> bytes:
    """Digests and sizes of objects."""
    return b"".join([_OFFER.pack(name, size) for name, size in objects])


def decode_offer(content: bytes) -> list[tuple[bytes, int]]:
    """Digests and sizes of objects.

    Raises:
        ValueError: it is cut off.
    """
    if len(content) % _OFFER.size:
        raise ValueError("a list of objects is cut off")
    return list(_OFFER.iter_unpack(content))
