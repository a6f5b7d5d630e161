"""The whole file system of a container as a tree, looked at by what differs from its image.

A container begins as its image is, and what its image has was found once (see `listing`). In an overlay a file that
changes, or anything about it, is copied up into the container's own layer first, with all directories on the way to it.
What is there then has another ctime, which nobody can set. So a directory with the inode and ctime that the image's has
is the image's, with all that is below, and is not looked into: a look costs what lies beside what has changed, as the
engine's own list of changes does. Where the root is no overlay, everything is listed.

A file that is not the image's is read again when its inode, ctime or size is not what it was. The kernel's clock for
ctimes ticks; a file that changed shortly before a look is read again at the next one, too. Where ctime does not tell of
all changes (while a process lives that may have mapped a file; on file systems in memory, which were asked), every file
that is not the image's is read at every look. Names of one file in several directories may change through each other,
so directories that have such are always listed.

Not part of the tree: what the kernel and we mount (`_KERNELS`, and what `skipped` names), and devices, which nobody in
a container can make; they are left alone. Files that the engine mounts (``/etc/hosts``) are part of it.
"""

from __future__ import annotations

import os
import stat
import time

from .folders import Found
from .listing import Listing, ListingWriter
from .removal import remove
from .tree_objects import (
    DIRECTORY,
    FIFO,
    FILE,
    LONGEST_PATH,
    SOCKET,
    SYMLINK,
    encode_directory,
    encode_tree,
    owned,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .listing import Listed

_CHUNK = 1 << 18
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_KINDS = {stat.S_IFREG: FILE, stat.S_IFDIR: DIRECTORY, stat.S_IFLNK: SYMLINK, stat.S_IFIFO: FIFO, stat.S_IFSOCK: SOCKET}
_KERNELS = (b"proc", b"sys", b"dev")
_TICK = 50_000_000
"""Nanoseconds that a file's ctime may be behind the clock, generously."""
_BLOCK = 512


class _Directory:
    """A directory that is looked into: its path, mode with owner, what the image has there, and what it has itself."""

    __slots__ = ("below", "digest", "entries", "image", "info", "path")

    def __init__(self, path: bytes, info: os.stat_result, image: dict[bytes, Listed]) -> None:
        self.path = path
        self.info = info
        self.image = image
        self.entries: list[tuple[bytes, int, int, bytes, os.stat_result]] = []
        self.below: dict[bytes, _Directory] = {}
        self.digest = b""


class RootFolders:
    """The directories of a container; it does for `Workspace` what `Folders` does for a workspace.

    Args:
        skipped: absolute paths of directories that are no part of the tree, besides the kernel's.
        listing: what the image has; nothing in the container that this is to be found out in.

    Raises:
        ValueError: `listing` is none.
    """

    def __init__(self, skipped: Sequence[bytes], listing: bytes = b"") -> None:
        self._skipped = frozenset((*_KERNELS, *(path.strip(b"/") for path in skipped)))
        self._mounts, self.mounted_files, self._is_overlay = _mounts()
        self._listing = Listing(listing) if listing else None
        self._ctime_tells = self._listing.ctime_tells if self._listing else _ctime_tells()
        self._device = os.lstat(b"/").st_dev
        self._contents: dict[tuple[int, int], tuple[int, int, bytes]] = {}
        """Device and inode of a file that is not the image's → its ctime, size and digest."""
        self._seen: dict[tuple[int, int], tuple[int, int, bytes]] = {}
        """The same of all that the last look found."""
        self._just_made: dict[tuple[int, int], tuple[int, int, bytes]] = {}
        self._lived = False
        self._fresh = self._listing is not None and not self._is_overlay
        self._order: list[_Directory] = []
        self.used = (0, 0)
        """Bytes and number of files beyond the image, as the last look found them."""
        self.looks = 0

    def begin(self) -> None:
        """Before anything runs: where what the image has is copied into the container, find out what that is here."""
        if self._fresh:
            self.look()

    def look(self, room: int = 0, processes: Sequence[int] = (), whole: bool = False) -> Found:
        """See `Folders.look`. All that is new to the host may be among what is found, whatever `whole` says.

        Raises:
            OSError: the file system cannot be read, or a command moved what is mounted in it.
        """
        if _mounts()[0] != self._mounts:
            raise OSError("a command moved what is mounted in this sandbox")
        now = time.time_ns()
        found = Found(room)
        found.whole = True
        doubted = bool(processes) or self._lived
        self._lived = bool(processes)
        known = {} if doubted else {**self._contents, **self._just_made}
        self._order, sharing = self._list(found)
        seen: dict[tuple[int, int], tuple[int, int, bytes]] = {}
        used = files = 0
        for folder in reversed(self._order):
            entries = []
            prefix = folder.path + b"/" if folder.path else b""
            for name, kind, mode, value, info in folder.entries:
                if kind == DIRECTORY:
                    value = value or folder.below[name].digest
                elif kind == FILE:
                    key = info.st_dev, info.st_ino
                    if not value:
                        content = seen.get(key)
                        if content is None:
                            content = known.get(key)
                            if content is None or content[0] != info.st_ctime_ns or content[1] != info.st_size:
                                value = found.read(self.content(prefix + name, info.st_size), info.st_size)
                                content = info.st_ctime_ns, info.st_size, value
                            seen[key] = content
                            used += info.st_blocks * _BLOCK
                        value = content[2]
                        found.contents[value] = info.st_size, prefix + name
                    elif info.st_nlink > 1:
                        # Where its names change, all of them are made anew.
                        found.contents[value] = info.st_size, prefix + name
                files += name not in folder.image
                entries.append((name, kind, mode, value))
            folder.digest = found.make(encode_directory(entries, owners=True))
        sure = now - _TICK
        self._seen = seen
        self._contents = {
            key: content
            for key, content in seen.items()
            if content[0] < sure and self._ctime_tells and key[0] == self._device
        }
        self._just_made.clear()
        self._fresh = False
        self.used = used, files
        self.looks += 1
        links = found.make_links(sharing.values())
        top = self._order[0]
        found.tree = found.make(encode_tree(_mode(top.info), top.digest, links, owners=True))
        return found

    def measure(self) -> tuple[int, int]:
        """Bytes and number of files beyond the image, now, while commands may run."""
        used = files = 0
        seen: set[tuple[int, int]] = set()
        for folder in self._list(None)[0]:
            for name, kind, _, value, info in folder.entries:
                files += name not in folder.image
                if kind == FILE and not value and (info.st_dev, info.st_ino) not in seen:
                    seen.add((info.st_dev, info.st_ino))
                    used += info.st_blocks * _BLOCK
        return used, files

    def listing(self) -> bytes:
        """What the last look found, as a listing of the image."""
        writer = ListingWriter(self._ctime_tells)
        lists: dict[bytes, tuple[int, bool]] = {}
        for folder in reversed(self._order):
            items: list[Listed] = []
            any_shared = False
            prefix = folder.path + b"/" if folder.path else b""
            for name, kind, mode, value, info in folder.entries:
                size, shared = info.st_size, info.st_nlink > 1
                if kind == DIRECTORY:
                    value = folder.below[name].digest
                    size, shared = lists[prefix + name]
                elif kind == FILE:
                    value = self._seen[info.st_dev, info.st_ino][2]
                any_shared = any_shared or shared
                times = info.st_ctime_ns, info.st_mtime_ns
                items.append((name, kind, mode, value, info.st_ino, *times, size, shared))
            lists[folder.path] = writer.add(items), any_shared
        return writer.content(lists[b""][0])

    def expect(self, files: int, size: int) -> None:
        """See `Folders.expect`."""

    def remember(self, info: os.stat_result, name: bytes) -> None:
        """See `Folders.remember`. It holds for the next look."""
        self._just_made[info.st_dev, info.st_ino] = info.st_ctime_ns, info.st_size, name

    def own_doing(self) -> None:
        """See `Folders.own_doing`."""

    def content(self, path: bytes, size: int) -> Iterator[bytes]:
        """See `Folders.content`."""
        file = os.open(b"/" + path, _READ)
        try:
            while size > 0:
                chunk = os.read(file, min(size, _CHUNK))
                if not chunk:
                    raise ValueError("a file became shorter while it was read")
                size -= len(chunk)
                yield chunk
        finally:
            os.close(file)

    def close(self) -> None:
        """See `Folders.close`."""

    # ---- listing -----------------------------------------------------------------------------------------------------

    def _list(self, found: Found | None) -> tuple[list[_Directory], dict[tuple[int, int], list[bytes]]]:
        """The directories that have to be looked into, each after the one it is in; and paths of files by inode, of
        those that have several names. Without `found`, commands may run meanwhile."""
        image = self._listing.directory(self._listing.root) if self._listing is not None else {}
        order = [_Directory(b"", os.lstat(b"/"), image)]
        sharing: dict[tuple[int, int], list[bytes]] = {}
        for folder in order:
            try:
                with os.scandir(b"/" + folder.path) as scan:
                    items = list(scan)
            except OSError:
                if found is not None:
                    raise
                continue
            for item in items:
                try:
                    self._one(folder, item, order, sharing, found)
                except OSError:
                    if found is not None:
                        raise
            folder.entries.sort()
        return order, sharing

    def _one(
        self,
        folder: _Directory,
        item: os.DirEntry[bytes],
        order: list[_Directory],
        sharing: dict[tuple[int, int], list[bytes]],
        found: Found | None,
    ) -> None:
        name = item.name
        path = folder.path + b"/" + name if folder.path else name
        if path in self._skipped:
            return
        info = item.stat(follow_symlinks=False)
        kind = _KINDS.get(stat.S_IFMT(info.st_mode))
        if kind is None:
            return
        if len(path) > LONGEST_PATH:
            if found is not None:
                found.removed.append(path)
                remove(os.fsdecode(item.path))
            return
        there = folder.image.get(name)
        if there is not None and there[1] != kind:
            there = None
        same = there is not None and self._is_images(there, info)
        value = b""
        if kind == DIRECTORY:
            if there is not None and same and self._is_overlay and not there[8]:
                value = there[3]
            else:
                listing, image = self._listing, dict[bytes, "Listed"]()
                if there is not None and listing is not None:
                    image = listing.directory(there[7])
                folder.below[name] = below = _Directory(path, info, image)
                order.append(below)
        elif kind == SYMLINK:
            value = there[3] if there is not None and same else os.readlink(item.path)
        elif kind == FILE:
            if there is not None and same and there[7] == info.st_size:
                value = there[3]
            if info.st_nlink > 1:
                sharing.setdefault((info.st_dev, info.st_ino), []).append(path)
        folder.entries.append((name, kind, _mode(info), value, info))

    def _is_images(self, there: Listed, info: os.stat_result) -> bool:
        """Whether this is what the image has, as it was when the image was made."""
        if there[4] == info.st_ino and there[5] == info.st_ctime_ns:
            return True
        # Before anything has run, whatever is here is what the engine took from the image.
        return self._fresh and there[6] == info.st_mtime_ns


def _mode(info: os.stat_result) -> int:
    permissions = 0 if stat.S_ISLNK(info.st_mode) else stat.S_IMODE(info.st_mode)
    return owned(permissions, info.st_uid, info.st_gid)


def _mounts() -> tuple[frozenset[bytes], frozenset[bytes], bool]:
    """Where something is mounted outside of the kernel's own directories, relative to the root; those of them that are
    files; and whether the root is an overlay."""
    points, is_overlay = set(), False
    with open("/proc/self/mountinfo", "rb") as table:
        for line in table:
            fields, _, about = line.partition(b" - ")
            point = fields.split()[4].decode("unicode_escape").encode("latin-1").strip(b"/")
            if not point:
                is_overlay = about.split()[0] == b"overlay"
            elif point.split(b"/")[0] not in _KERNELS:
                points.add(point)
    files = {point for point in points if os.path.isfile(b"/" + point)}
    return frozenset(points), frozenset(files), is_overlay


def _ctime_tells() -> bool:
    """Whether the ctime of a file here tells when it was written to through a shared map that was read from before."""
    import mmap

    path = b"/.agentdistill-%b" % os.urandom(8).hex().encode()
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, bytes(mmap.PAGESIZE))
        with mmap.mmap(file, mmap.PAGESIZE) as mapped:
            mapped[0]
            before = os.fstat(file).st_ctime_ns
            time.sleep(_TICK / 1e9)
            mapped[1] = 1
        return os.fstat(file).st_ctime_ns > before
    finally:
        os.close(file)
        os.unlink(path)
