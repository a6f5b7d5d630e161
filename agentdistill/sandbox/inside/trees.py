"""The workspace as a tree of objects: looking at it, sending its contents, and making it over into another tree.

Nothing else runs in a workspace while it is looked at or changed (it was killed, or it is frozen), so what was a
directory a moment ago still is one. Whoever wrote it may have taken away its permissions; they are lent back while we
look. Devices, and what lies deeper than `LONGEST_PATH`, are removed from it, since nobody could put them back.
"""

from __future__ import annotations

import os
import stat

from .folders import UNWATCHED, Folders
from .removal import remove
from .tree_objects import (
    APPEND,
    CHMOD,
    DIGEST,
    EXTEND,
    FIFO,
    MAKE_DIRECTORY,
    MAKE_LINK,
    MAKE_SPECIAL,
    MAKE_SYMLINK,
    REMOVE,
    SOCKET,
    WHITEOUT,
    WRITE,
    decode_operations,
    encode_offer,
    owner_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from .folders import Found
    from .rootfs import RootFolders
    from .wire import Body

    Reply = tuple[dict[str, Any], int, Iterable[bytes]]
    """Head of a reply, size of its body in bytes, and the body in parts."""

_NO_END = 1 << 62
_MOST_GIVEN = 1_000_000
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ANEW = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_MORE = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL = {FIFO: stat.S_IFIFO, SOCKET: stat.S_IFSOCK, WHITEOUT: stat.S_IFCHR}


class Workspace:
    """One workspace, and what the host was given of it.

    `look`, `send` and `make_over` answer requests of the host: each takes head and body of one and returns a `Reply`.

    Args:
        root: absolute path of the workspace.
        unwatched: see `Folders`.
        whole: the directories of the whole container, whose tree has owners; then `root` is ``/``.
    """

    def __init__(self, root: bytes, unwatched: int = UNWATCHED, whole: RootFolders | None = None) -> None:
        self._root = root
        self._owners = whole is not None
        self._folders: Folders | RootFolders = whole if whole is not None else Folders(root, unwatched)
        self._mounted = frozenset(map(self._full, whole.mounted_files)) if whole is not None else frozenset()
        self._given: set[bytes] = set()
        self._owing = False
        """Whether we have seen something new that was not offered."""
        self._offered: dict[bytes, tuple[int, bytes]] = {}

    # ---- looking -----------------------------------------------------------------------------------------------------

    def look(self, request: dict[str, Any], body: Body, processes: Sequence[int] = ()) -> Reply:
        """Look at the whole tree and offer the host what it does not have yet.

        The request has `offer`: ``all`` objects, ``structure`` (no contents) or ``nothing``; `inline`: how many bytes
        of contents may come at once; `held`: the digest of a tree that the host has all of, or no bytes; and `anew`:
        whether the host may have lost what it was given before.

        The reply has `tree`, the digest of the tree; `count`, how many objects are offered; `structure`, how many of
        them are no contents; `inlined`, how many of them come at once; `removed`, the paths of what could not be kept.
        Its body is the list of the offered objects, then the first `inlined` of them, structure first. What was offered
        with ``all`` is not offered again. While processes live, all comes at once, since afterwards they may change it.

        Args:
            request: its head.
            body: nothing.
            processes: which other processes live, all frozen. They may hold files open.

        Raises:
            OSError: the workspace cannot be read.
            ValueError: it is no directory.
        """
        offer = request["offer"]
        if request["anew"]:
            self._given.clear()
        whole = request["anew"] or (self._owing and offer != "nothing") or len(self._given) > _MOST_GIVEN
        found = self._folders.look(_NO_END if processes else request["inline"], processes, whole)
        if found.whole:
            self._given &= found.structure.keys() | found.contents.keys()
        structure = [name for name in found.structure if name not in self._given]
        contents = [name for name in found.contents if name not in self._given] if offer == "all" else []
        contents.sort(key=lambda name: not self._at_once(name, found))
        self._owing = bool(structure) or (self._owing and not found.whole)
        if offer == "all" or request["held"] == found.tree:
            self._given.update(found.structure, found.contents)
            self._owing = False
        if offer == "nothing":
            structure = []
        self._offered = {name: found.contents[name] for name in contents}
        inlined = [found.structure[name] for name in structure]
        inlined += [found.fresh[name] for name in contents if name in found.fresh]
        listed = [(name, len(found.structure[name])) for name in structure]
        listed += [(name, found.contents[name][0]) for name in contents]
        parts = [encode_offer(listed), *inlined]
        head = {
            "tree": found.tree,
            "count": len(listed),
            "structure": len(structure),
            "inlined": len(inlined),
            "removed": found.removed,
        }
        return head, sum(map(len, parts)), parts

    def _at_once(self, name: bytes, found: Found) -> bool:
        """Whether there is room to send a content along; it is read again if it was read at an earlier look."""
        size, path = found.contents[name]
        if name not in found.fresh and size <= found.room:
            found.fresh[name] = b"".join(self._folders.content(path, size))
            found.room -= size
        return name in found.fresh

    def send(self, request: dict[str, Any], body: Body) -> Reply:
        """Send contents that the last look offered; the body of the request has their digests.

        The body of the reply is the list of them with their sizes, then the contents.

        Raises:
            LookupError: it did not offer one. While the parts are read: OSError or ValueError if it is there no more.
        """
        wanted = body.read(body.left)
        names = [wanted[at : at + DIGEST] for at in range(0, len(wanted), DIGEST)]
        offer = encode_offer((name, self._offered[name][0]) for name in names)
        return {}, len(offer) + sum(self._offered[name][0] for name in names), self._parts(offer, names)

    def _parts(self, offer: bytes, names: list[bytes]) -> Iterator[bytes]:
        yield offer
        for name in names:
            size, path = self._offered[name]
            yield from self._folders.content(path, size)

    def close(self) -> None:
        """Give up watching. The end of the process does the same."""
        self._folders.close()

    # ---- making over -------------------------------------------------------------------------------------------------

    def make_over(self, request: dict[str, Any], body: Body) -> Reply:
        """Do operations, one after the other, right after a `look`. Another must follow before anything else runs.

        The request has `operations`, how many bytes of its body are operations; the contents of files follow.

        Raises:
            OSError: one could not be done; those before it are.
            ValueError: the request is malformed.
        """
        operations = list(decode_operations(body.read(request["operations"])))
        self._folders.expect(len(operations), body.left)
        mask = os.umask(0)
        try:
            for what, path, mode, size, value in operations:
                self._do(what, self._full(path), mode, size, value, body)
        finally:
            os.umask(mask)
            self._folders.own_doing()
        return {}, 0, []

    def _do(self, what: int, full: bytes, mode: int, size: int, value: bytes, body: Body) -> None:
        if what == WRITE:
            self._write(full, mode, size, value, body)
        elif what == REMOVE and full in self._mounted:
            pass  # nobody can remove it; what is written there replaces what it has
        elif what == APPEND:
            with open(os.open(full, _MORE), "wb", 0) as file:
                _write(file.fileno(), body.chunks(size))
        elif what == EXTEND:
            os.truncate(full, os.lstat(full).st_size + size)
        elif what == CHMOD:
            self._own(full, mode)
            if not (self._owners and stat.S_ISLNK(os.lstat(full).st_mode)):
                os.chmod(full, mode & 0o7777)
        elif what == REMOVE:
            try:
                os.unlink(full)
            except IsADirectoryError:
                remove(os.fsdecode(full))
        elif what == MAKE_DIRECTORY:
            os.mkdir(full, 0o700)
        elif what == MAKE_SYMLINK:
            os.symlink(value, full)
            self._own(full, mode)
        elif what == MAKE_LINK:
            os.link(self._full(value), full, follow_symlinks=False)
        elif what == MAKE_SPECIAL:
            os.mknod(full, _SPECIAL[value[0]] | 0o600)
            self._own(full, mode)
            os.chmod(full, mode & 0o7777)
        else:
            raise ValueError("an unknown operation")

    def _write(self, full: bytes, mode: int, size: int, name: bytes, body: Body) -> None:
        file = os.open(full, _ANEW if full in self._mounted else _NEW, mode & 0o777)
        try:
            _write(file, body.chunks(size))
            self._own(file, mode)  # which takes a setuid bit away
            mode &= 0o7777
            info = os.fstat(file)
            if stat.S_IMODE(info.st_mode) != mode:
                os.fchmod(file, mode)
                info = os.fstat(file)
            if name:  # the host has seen to it that this is the digest
                self._folders.remember(info, name)
        finally:
            os.close(file)

    def _own(self, what: bytes | int, mode: int) -> None:
        """Give a file, or a link itself, to the owner in its mode, if the tree has owners."""
        if self._owners:
            _, user, group = owner_of(mode)
            if isinstance(what, int):
                os.fchown(what, user, group)
            else:
                os.lchown(what, user, group)

    def _full(self, path: bytes) -> bytes:
        return self._root if path == b"." else os.path.join(self._root, path)


def _write(file: int, chunks: Iterable[bytes]) -> None:
    for chunk in chunks:
        written = os.write(file, chunk)
        while written < len(chunk):
            written += os.write(file, chunk[written:])
