"""The workspace as a tree of objects: looking at it, sending its contents, and making it over into another tree.

Nothing else runs in a workspace while it is looked at or changed (it was killed, or it is frozen), so what was a
directory a moment ago still is one. Whoever wrote it may have taken away its permissions; they are lent back while we
look. Devices, and what lies deeper than `LONGEST_PATH`, are removed from it, since nobody could put them back.

A file is read again when its inode, ctime or size is not what it was, when the kernel reported a write to it (see
`watches`), or when a process that lives on could write to it without either. Where the kernel reports nothing, every
file is read at every look. Directory objects are made anew at each look: that is quick, and never out of date.
"""

from __future__ import annotations

import os
import stat

from .removal import remove
from .tree_objects import (
    APPEND,
    CHMOD,
    DIGEST,
    DIRECTORY,
    EXTEND,
    FIFO,
    FILE,
    LONGEST_PATH,
    MAKE_DIRECTORY,
    MAKE_LINK,
    MAKE_SPECIAL,
    MAKE_SYMLINK,
    NO_LINKS,
    REMOVE,
    SOCKET,
    SYMLINK,
    WHITEOUT,
    WRITE,
    content_digest,
    decode_operations,
    digest,
    encode_directory,
    encode_links,
    encode_offer,
    encode_tree,
)
from .watches import Watches, held_open

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from .tree_objects import Entry
    from .wire import Body

    Reply = tuple[dict[str, Any], int, Iterable[bytes]]
    """Head of a reply, size of its body in bytes, and the body in parts."""

_CHUNK = 1 << 18
_NO_END = 1 << 62
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MORE = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL = {FIFO: stat.S_IFIFO, SOCKET: stat.S_IFSOCK, WHITEOUT: stat.S_IFCHR}
_KINDS = {stat.S_IFREG: FILE, stat.S_IFDIR: DIRECTORY, stat.S_IFLNK: SYMLINK, stat.S_IFIFO: FIFO, stat.S_IFSOCK: SOCKET}


class _Folder:
    """A directory as it was found: its path from the root with a slash at the end, and what is in it, sorted."""

    __slots__ = ("items", "prefix")

    def __init__(self, prefix: bytes, items: list[tuple[bytes, int, os.stat_result]]) -> None:
        self.prefix, self.items = prefix, items


class _Found:
    """What one look finds.

    Attributes:
        contents: inode of a file → its ctime, its size, its digest.
        paths: digest of a content → its size, and where a file that has it is.
        structure: digest of a directory, links or tree object → the object.
        fresh: digest → contents that were read at this look, as far as there was `room` for so many bytes.
        names: number of a watch → name of a file in its directory → inode.
        linked: inode → its paths, where the kernel says that it has more than one.
        removed: paths that nobody could put back.
        doubted: inodes of files to be read again; `None` for all.
    """

    __slots__ = ("contents", "doubted", "fresh", "linked", "names", "paths", "removed", "room", "structure")

    def __init__(self, room: int) -> None:
        self.contents: dict[int, tuple[int, int, bytes]] = {}
        self.paths: dict[bytes, tuple[int, bytes]] = {}
        self.structure: dict[bytes, bytes] = {}
        self.fresh: dict[bytes, bytes] = {}
        self.names: dict[int, dict[bytes, int]] = {}
        self.linked: dict[int, list[bytes]] = {}
        self.removed: list[bytes] = []
        self.doubted: set[int] | None = None
        self.room = room

    def digests(self) -> set[bytes]:
        """All objects of the tree."""
        return {*self.structure, *self.paths}


class Workspace:
    """One workspace, and what was last found in it.

    `look`, `send` and `make_over` answer requests of the host: each takes head and body of one and returns a `Reply`.

    Args:
        root: absolute path of the workspace.
    """

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._last = _Found(0)
        self._given: set[bytes] = set()
        self._lent: list[tuple[bytes, int]] = []
        self._watches: Watches | None = None
        self._blind = True
        """Whether files may have been written to since the last look without our being told."""
        self._held_open: set[int] | None = set()
        """Inodes of files that living processes could write to at the last look; `None` if nobody knows."""

    # ---- looking -----------------------------------------------------------------------------------------------------

    def look(self, request: dict[str, Any], body: Body, processes: Sequence[int] = ()) -> Reply:
        """Look at the whole tree and offer the host what it does not have yet.

        The request has `offer`: ``all`` objects, ``structure`` (no contents) or ``nothing``; `inline`: how many bytes
        of contents may come at once; `held`: the digest of a tree that the host has all of, or no bytes; and `anew`:
        whether the host may have lost what it was given before.

        The reply has `tree`, the digest of the tree; `count`, how many objects are offered; `structure`, how many of
        them are no contents; `inlined`, how many of them come at once; `removed`, the paths of what could not be kept.
        Its body is the list of the offered objects, then the first `inlined` of them, structure first. What was offered
        with ``all`` is not offered again as long as it is in the tree. While processes live, all comes at once, since
        afterwards they may change it.

        Args:
            request: its head.
            body: nothing.
            processes: which other processes live, all frozen. They may hold files open.

        Raises:
            OSError: the workspace cannot be read.
        """
        found = _Found(_NO_END if processes else request["inline"])
        try:
            written, self._blind = self._written(), self._watches is None
            folders, mode = self._walk(found)
            found.doubted = self._doubted(found, written, processes)
            tree = self._name(folders, mode, found)
        finally:
            while self._lent:
                os.chmod(*self._lent.pop())
        self._last = found
        if request["anew"]:
            self._given = set()
        if request["held"] == tree:
            self._given = found.digests()
        structure: list[bytes] = []
        contents: list[bytes] = []
        if request["offer"] != "nothing":
            structure = [name for name in found.structure if name not in self._given]
        if request["offer"] == "all":
            contents = [name for name in found.paths if name not in self._given]
            contents.sort(key=lambda name: not self._at_once(name, found))
            self._given = found.digests()
        inlined = [found.structure[name] for name in structure]
        inlined += [found.fresh[name] for name in contents if name in found.fresh]
        offer = encode_offer((name, self._size(name)) for name in structure + contents)
        head = {
            "tree": tree,
            "count": len(structure) + len(contents),
            "structure": len(structure),
            "inlined": len(inlined),
            "removed": found.removed,
        }
        return head, len(offer) + sum(map(len, inlined)), [offer, *inlined]

    def _at_once(self, name: bytes, found: _Found) -> bool:
        """Whether there is room to send a content along; it is read again if it was read at an earlier look."""
        size, path = found.paths[name]
        if name not in found.fresh and size <= found.room:
            found.fresh[name] = b"".join(self._chunks(path, size))
            found.room -= size
        return name in found.fresh

    def _written(self) -> set[tuple[int, bytes]] | None:
        """What the kernel reported since the last look, by watch and name; `None` if it may have missed something."""
        if self._watches is None:
            try:
                self._watches = Watches()
            except OSError:
                return None
            return None
        reported, overflowed = self._watches.reported()
        return None if overflowed or self._blind else reported

    def _walk(self, found: _Found) -> tuple[list[_Folder], int]:
        """Every directory, parents before children, and the mode of the root."""
        root = os.lstat(self._root)
        if not stat.S_ISDIR(root.st_mode):
            raise ValueError("the workspace is not a directory")
        folders: list[_Folder] = []
        waiting = [(b"", self._root, stat.S_IMODE(root.st_mode))]
        while waiting:
            prefix, folder, mode = waiting.pop()
            if mode & 0o700 != 0o700:
                self._lent.append((folder, mode))
                os.chmod(folder, mode | 0o700)
            inodes = self._watch(folder, found)
            items: list[tuple[bytes, int, os.stat_result]] = []
            with os.scandir(folder) as scan:
                for item in scan:
                    info, name = item.stat(follow_symlinks=False), item.name
                    kind = _KINDS.get(stat.S_IFMT(info.st_mode))
                    if kind is None and stat.S_ISCHR(info.st_mode) and info.st_rdev == 0:
                        kind = WHITEOUT
                    if kind is None or len(prefix) + len(name) > LONGEST_PATH:
                        found.removed.append(prefix + name)
                        remove(os.fsdecode(item.path))
                        continue
                    if kind == FILE:
                        inodes[name] = info.st_ino
                    elif kind == DIRECTORY:
                        waiting.append((prefix + name + b"/", item.path, stat.S_IMODE(info.st_mode)))
                    if info.st_nlink > 1 and kind != DIRECTORY:
                        found.linked.setdefault(info.st_ino, []).append(prefix + name)
                    items.append((name, kind, info))
            items.sort()
            folders.append(_Folder(prefix, items))
        return folders, stat.S_IMODE(root.st_mode)

    def _watch(self, folder: bytes, found: _Found) -> dict[bytes, int]:
        """Have writes in a directory reported from now on; where its files are to be noted."""
        if self._watches is None:
            return {}
        try:
            return found.names.setdefault(self._watches.watch(folder), {})
        except OSError:
            self._blind = True
            return {}

    def _doubted(
        self, found: _Found, written: set[tuple[int, bytes]] | None, processes: Sequence[int]
    ) -> set[int] | None:
        """Inodes of files that may have changed without their ctime telling; `None` for all."""
        before, self._held_open = self._held_open, held_open(processes)
        if written is None or before is None or self._held_open is None:
            return None
        doubted = before | self._held_open
        for number, name in written:
            known = [names[number][name] for names in (self._last.names, found.names) if name in names.get(number, ())]
            if not known and before:
                # A process that lived on could have had another name of a file open, one that is gone since.
                return None
            doubted.update(known)
        return doubted

    def _name(self, folders: list[_Folder], mode: int, found: _Found) -> bytes:
        """Make all objects of the tree; the digest of the tree."""
        digests: dict[bytes, bytes] = {}
        for folder in reversed(folders):
            prefix = folder.prefix
            entries: list[Entry] = []
            for name, kind, info in folder.items:
                if kind == FILE:
                    known = found.contents.get(info.st_ino)
                    value = known[2] if known is not None else self._content(prefix + name, info, found)
                elif kind == DIRECTORY:
                    value = digests.pop(prefix + name + b"/")
                else:
                    value = os.readlink(self._full(prefix + name)) if kind == SYMLINK else b""
                entries.append((name, kind, 0 if kind == SYMLINK else stat.S_IMODE(info.st_mode), value))
            content = encode_directory(entries)
            digests[prefix] = digest(content)
            found.structure[digests[prefix]] = content
        links = NO_LINKS
        groups = [paths for paths in found.linked.values() if len(paths) > 1]
        if groups:
            content = encode_links(groups)
            links = digest(content)
            found.structure[links] = content
        content = encode_tree(mode, digests[b""], links)
        tree = digest(content)
        found.structure[tree] = content
        return tree

    def _content(self, path: bytes, info: os.stat_result, found: _Found) -> bytes:
        """The digest of a file's content, which is read if need be."""
        known = self._last.contents.get(info.st_ino)
        if (
            known is None
            or known[0] != info.st_ctime_ns
            or known[1] != info.st_size
            or found.doubted is None
            or info.st_ino in found.doubted
        ):
            known = self._read(path, info, found)
        found.contents[info.st_ino] = known
        found.paths[known[2]] = known[1], path
        return known[2]

    def _read(self, path: bytes, info: os.stat_result, found: _Found) -> tuple[int, int, bytes]:
        size = info.st_size
        chunks: Iterable[bytes] = self._chunks(path, size)
        if size <= found.room:
            chunks = list(chunks)
            name = content_digest(chunks)
            if name not in found.fresh:
                found.fresh[name] = b"".join(chunks)
                found.room -= size
        else:
            name = content_digest(chunks)
        if not info.st_mode & 0o400:
            info = os.lstat(self._full(path))  # lending it changed its ctime
        return info.st_ctime_ns, size, name

    def _size(self, name: bytes) -> int:
        content = self._last.structure.get(name)
        return self._last.paths[name][0] if content is None else len(content)

    def _full(self, path: bytes) -> bytes:
        return self._root if path == b"." else b"%b/%b" % (self._root, path)

    # ---- sending -----------------------------------------------------------------------------------------------------

    def send(self, request: dict[str, Any], body: Body) -> Reply:
        """Send objects of the tree as it was at the last look; the body of the request has their digests.

        The body of the reply is the list of the objects with their sizes, then the objects.

        Raises:
            LookupError: there was no such object. While the parts are read: ValueError if a file has changed since.
        """
        wanted = body.read(body.left)
        names = [wanted[at : at + DIGEST] for at in range(0, len(wanted), DIGEST)]
        offer = encode_offer((name, self._size(name)) for name in names)
        return {}, len(offer) + sum(map(self._size, names)), self._parts(offer, names)

    def _parts(self, offer: bytes, names: list[bytes]) -> Iterator[bytes]:
        yield offer
        for name in names:
            content = self._last.structure.get(name)
            if content is not None:
                yield content
            else:
                size, path = self._last.paths[name]
                yield from self._chunks(path, size)

    def _chunks(self, path: bytes, size: int) -> Iterator[bytes]:
        """The content of a file, which must be `size` bytes long."""
        full = self._full(path)
        mode = stat.S_IMODE(os.lstat(full).st_mode)
        lend = not mode & 0o400
        if lend:
            os.chmod(full, mode | 0o400)
        try:
            file = os.open(full, _READ)
        finally:
            if lend:
                os.chmod(full, mode)
        try:
            while size > 0:
                chunk = os.read(file, min(size, _CHUNK))
                if not chunk:
                    raise ValueError("a file became shorter while it was read")
                size -= len(chunk)
                yield chunk
        finally:
            os.close(file)

    # ---- making over -------------------------------------------------------------------------------------------------

    def make_over(self, request: dict[str, Any], body: Body) -> Reply:
        """Do operations, one after the other. A `look` must follow before anything else runs.

        The request has `operations`, how many bytes of its body are operations; the contents of files follow.

        Raises:
            OSError: one could not be done; those before it are.
            ValueError: the request is malformed.
        """
        for what, path, mode, size, value in decode_operations(body.read(request["operations"])):
            full = self._full(path)
            if what == WRITE:
                self._write(full, mode, size, body)
            elif what == APPEND:
                with open(os.open(full, _MORE), "wb", 0) as file:
                    for _ in _written_to(file.fileno(), body.chunks(size)):
                        pass
            elif what == EXTEND:
                os.truncate(full, os.lstat(full).st_size + size)
            elif what == CHMOD:
                os.chmod(full, mode)
            elif what == REMOVE:
                remove(os.fsdecode(full))
            elif what == MAKE_DIRECTORY:
                os.mkdir(full, 0o700)
            elif what == MAKE_SYMLINK:
                os.symlink(value, full)
            elif what == MAKE_LINK:
                os.link(self._full(value), full, follow_symlinks=False)
            elif what == MAKE_SPECIAL:
                os.mknod(full, _SPECIAL[value[0]] | 0o600)
                os.chmod(full, mode)
            else:
                raise ValueError("an unknown operation")
        if self._watches is not None:
            self._watches.reported()  # our own doing: what was written is known
        return {}, 0, []

    def _write(self, full: bytes, mode: int, size: int, body: Body) -> None:
        file = os.open(full, _NEW, 0o600)
        try:
            name = content_digest(_written_to(file, body.chunks(size)))
            os.fchmod(file, mode)
            info = os.fstat(file)
        finally:
            os.close(file)
        self._last.contents[info.st_ino] = info.st_ctime_ns, size, name


def _written_to(file: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks, each after it was written."""
    for chunk in chunks:
        written = os.write(file, chunk)
        while written < len(chunk):
            written += os.write(file, chunk[written:])
        yield chunk
