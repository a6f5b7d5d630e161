"""The directories of a workspace as they were last found, and finding out what is different now.

A file is read again when its inode, ctime or size is not what it was, when the kernel reported a write to it (see
`watches`), or when a process that lives on could write to it without either.

A directory is listed again when the kernel reported something in it. All of them are listed again, and every file's
inode, ctime and size compared, whenever the reports may not tell all: at the first look; when there were too many
reports or watches; when a process lives on from the last look, or lives now; when a directory appeared, or a name
appeared and is gone again, since it may have been another name of a file elsewhere; and when a file has a name that we
do not know of. Directories that hold one of several names of a file are always listed again, since what happens through
one name is reported for that one only. Where the kernel reports nothing at all, every file is read at every look.
"""

from __future__ import annotations

import os
import stat

from .removal import remove
from .tree_objects import (
    DIRECTORY,
    FIFO,
    FILE,
    LONGEST_PATH,
    NO_LINKS,
    SOCKET,
    SYMLINK,
    WHITEOUT,
    content_digest,
    digest,
    encode_directory,
    encode_links,
    encode_tree,
)
from .watches import Reported, Watches, held_open

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .tree_objects import Entry

_CHUNK = 1 << 18
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_KINDS = {stat.S_IFREG: FILE, stat.S_IFDIR: DIRECTORY, stat.S_IFLNK: SYMLINK, stat.S_IFIFO: FIFO, stat.S_IFSOCK: SOCKET}
_MANY = 10_000
_FILE = 4096  # what reading a file costs beside its content, in bytes of content
UNWATCHED = 1 << 20
"""How much of a workspace is read again at every look rather than watched."""


class _Folder:
    """A directory as it was found.

    Attributes:
        above: the directory it is in; `None` for the root.
        path: from the root; empty for the root itself.
        inode, mode: what the kernel says.
        watch: number of the watch on it, -1 if there is none.
        items: name, kind and all the kernel says of each thing in it, sorted by name.
        targets: those of the symbolic links in it.
        folders: the directories in it.
        shared: inode, path and number of names of each file in it that has several.
        digest: of its directory object; `None` if that has to be made.
        gone: whether it is not there any more.
    """

    __slots__ = ("above", "digest", "folders", "gone", "inode", "items", "mode", "path", "shared", "targets", "watch")

    def __init__(self, above: _Folder | None, path: bytes, info: os.stat_result) -> None:
        self.above = above
        self.path = path
        self.inode = info.st_ino
        self.mode = stat.S_IMODE(info.st_mode)
        self.watch = -1
        self.items: list[tuple[bytes, int, os.stat_result]] = []
        self.targets: dict[bytes, bytes] = {}
        self.folders: dict[bytes, _Folder] = {}
        self.shared: list[tuple[int, bytes, int]] = []
        self.digest: bytes | None = None
        self.gone = False

    def inodes(self) -> dict[bytes, int]:
        """Of the files in it, by name."""
        return {name: info.st_ino for name, kind, info in self.items if kind == FILE}


class Found:
    """What a look found.

    Attributes:
        tree: digest of the tree.
        whole: whether everything is listed below, and not only what may be new.
        structure: digest → directory, links or tree object.
        contents: digest of a content → its size, and the path of a file that has it.
        fresh: digest → contents that were read now, as far as there was `room` for so many bytes.
        removed: paths that nobody could put back.
    """

    __slots__ = ("contents", "fresh", "removed", "room", "structure", "tree", "whole")

    def __init__(self, room: int) -> None:
        self.tree = b""
        self.whole = False
        self.structure: dict[bytes, bytes] = {}
        self.contents: dict[bytes, tuple[int, bytes]] = {}
        self.fresh: dict[bytes, bytes] = {}
        self.removed: list[bytes] = []
        self.room = room

    def make(self, structure: bytes) -> bytes:
        """Take in an object that was made; its digest."""
        name = digest(structure)
        self.structure[name] = structure
        return name

    def make_links(self, sharing: Iterable[list[bytes]]) -> bytes:
        """Make the links object of files that have several names, if there are such; its digest."""
        several = [paths for paths in sharing if len(paths) > 1]
        return self.make(encode_links(several)) if several else NO_LINKS

    def read(self, chunks: Iterable[bytes], size: int) -> bytes:
        """Read a content of `size` bytes, and keep it if there is room; its digest."""
        if size > self.room:
            return content_digest(chunks)
        chunks = list(chunks)
        name = content_digest(chunks)
        if name not in self.fresh:
            self.fresh[name] = b"".join(chunks)
            self.room -= size
        return name


class Folders:
    """All directories of a workspace.

    Args:
        root: absolute path of the workspace.
        unwatched: bytes of contents, and some for every file, up to which all is read again at every look. To watch
            costs as much, once: the kernel takes its time to forget the watches.
    """

    def __init__(self, root: bytes, unwatched: int = UNWATCHED) -> None:
        self._root = root
        self._unwatched = unwatched
        self._large = unwatched <= 0
        self._top: _Folder | None = None
        self._sharing: set[_Folder] = set()
        """Directories that hold one of several names of a file."""
        self._contents: dict[int, tuple[int, int, bytes]] = {}
        """Inode of a file → its ctime, size and digest."""
        self._most_contents = 0
        self._watches: Watches | None = None
        self._watched: dict[int, _Folder] = {}
        self._touched: set[int] = set()
        """Numbers of watches on directories that we changed ourselves."""
        self._blind = True
        """Whether something may have happened since the last look without our being told."""
        self._held_open: set[int] | None = set()
        """Inodes of files that living processes could write to at the last look; `None` if nobody knows."""
        self._opened: list[_Folder] = []

    def look(self, room: int, processes: Sequence[int], whole: bool) -> Found:
        """Look at the tree.

        Args:
            room: bytes of contents to hold on to.
            processes: which other processes live, all frozen.
            whole: whether to list everything.

        Raises:
            OSError: the workspace cannot be read.
            ValueError: it is no directory.
        """
        found = Found(room)
        reported = self._reported()
        before, self._held_open = self._held_open, held_open(processes)
        doubted = None
        if reported is not None and before is not None and self._held_open is not None:
            doubted = before | self._held_open
        stale = None if whole or doubted is None or before or processes else self._stale(reported)
        if reported is not None and doubted is not None:
            doubted |= self._inodes(reported)
            self._end(reported)
        try:
            if stale is not None:
                self._list(stale, found)
            if stale is None or not self._knows_all_names():
                found.whole = True
                self._list([self._begin()], found)
            if reported is not None and doubted is not None:
                doubted |= self._inodes(reported)
            self._name(found, doubted)
        except BaseException:
            self._top = None
            raise
        finally:
            self._close()
        return found

    def expect(self, files: int, size: int) -> None:
        """So many files with so many bytes come on top, by our own doing, after a look and before anybody else acts."""
        if self._watches is None and self._outgrows(files, size):
            top, self._top = self._top, None
            try:
                self._watches = Watches()
            except OSError:
                return
            if top is not None:
                self._top, self._blind = top, False
                folders = [top]
                for folder in folders:
                    folders += folder.folders.values()
                    self._watch(folder, self._full(folder.path))

    def remember(self, info: os.stat_result, name: bytes) -> None:
        """A file with the content of that digest has just been written, and nobody wrote to it since."""
        self._contents[info.st_ino] = info.st_ctime_ns, info.st_size, name

    def own_doing(self) -> None:
        """What happened since the last look was our doing: all contents that were written are remembered."""
        if self._watches is not None:
            reported = self._watches.reported()
            self._touched |= reported.touched
            self._end(reported)
            if not reported.complete:
                self._top = None

    def content(self, path: bytes, size: int) -> Iterator[bytes]:
        """The content of a file, which must be `size` bytes long, in chunks.

        Raises:
            ValueError: it is shorter.
        """
        *way, _ = path.split(b"/")
        folder = self._top
        for name in way:
            folder = folder.folders.get(name) if folder is not None else None
        try:
            self._open(folder)
            yield from self._chunks(path, size)
        finally:
            self._close()

    def close(self) -> None:
        """Give up watching."""
        if self._watches is not None:
            self._watches.close()

    # ---- what the kernel told ----------------------------------------------------------------------------------------

    def _reported(self) -> Reported | None:
        """What happened since the last look; `None` if nobody can tell."""
        if self._watches is None:
            if not self._large:
                return None
            try:
                self._watches = Watches()
            except OSError:
                return None
        reported = self._watches.reported()
        blind, self._blind = self._blind, False
        return None if blind or not reported.complete else reported

    def _outgrows(self, files: int, size: int) -> bool:
        self._large = self._large or size + files * _FILE > self._unwatched
        return self._large

    def _stale(self, reported: Reported | None) -> list[_Folder] | None:
        """The directories to be listed again; `None` for all."""
        too_many = len(self._contents) > 2 * self._most_contents + _MANY
        if self._top is None or reported is None or reported.hidden or too_many:
            return None
        if not reported.touched <= self._watched.keys():
            return None
        root = os.lstat(self._root)
        self._top.mode = stat.S_IMODE(root.st_mode)
        touched = {self._watched[number] for number in reported.touched | self._touched if number in self._watched}
        return [*touched, *self._sharing]

    def _inodes(self, reported: Reported) -> set[int]:
        """Inodes of the files that were written to, by the names they have as far as we know now."""
        found: set[int] = set()
        names: dict[int, dict[bytes, int]] = {}
        for number, name in reported.written:
            if number in self._watched and number not in names:
                names[number] = self._watched[number].inodes()
            inode = names.get(number, {}).get(name)
            if inode is not None:
                found.add(inode)
        return found

    def _end(self, reported: Reported) -> None:
        for number in reported.gone:
            folder = self._watched.pop(number, None)
            if folder is not None:
                folder.gone = True

    def _knows_all_names(self) -> bool:
        """Whether we know all names of each file that has several, as the kernel counts them."""
        names: dict[int, int] = {}
        counted: dict[int, int] = {}
        for folder in self._sharing:
            for inode, _, count in folder.shared:
                names[inode] = names.get(inode, 0) + 1
                counted[inode] = count
        return names == counted

    # ---- listing -----------------------------------------------------------------------------------------------------

    def _begin(self) -> _Folder:
        """Forget all directories; the root."""
        info = os.lstat(self._root)
        if not stat.S_ISDIR(info.st_mode):
            raise ValueError("the workspace is not a directory")
        self._watched.clear()
        self._sharing.clear()
        self._top = _Folder(None, b"", info)
        return self._top

    def _list(self, stale: Iterable[_Folder], found: Found) -> None:
        """List directories, and those below that we do not know."""
        # Those above come first: they know which of the others are gone. The new ones are nobody else's.
        waiting = sorted(set(stale), key=lambda folder: len(folder.path), reverse=True)
        while waiting:
            folder = waiting.pop()
            if not folder.gone:
                waiting += self._list_one(folder, found)

    def _list_one(self, folder: _Folder, found: Found) -> list[_Folder]:
        """List a directory; returns the directories in it that we did not know."""
        self._open(folder)
        full = self._full(folder.path)
        self._watch(folder, full)
        known, new = folder.folders, []
        folder.items, folder.folders, folder.targets, folder.shared = [], {}, {}, []
        prefix = folder.path + b"/" if folder.path else b""
        with os.scandir(full) as scan:
            for item in scan:
                name, info = item.name, item.stat(follow_symlinks=False)
                kind = _KINDS.get(stat.S_IFMT(info.st_mode))
                if kind is None and stat.S_ISCHR(info.st_mode) and info.st_rdev == 0:
                    kind = WHITEOUT
                if kind is None or len(prefix) + len(name) > LONGEST_PATH:
                    found.removed.append(prefix + name)
                    remove(os.fsdecode(item.path))
                    continue
                if kind == DIRECTORY:
                    below = known.get(name)
                    if below is None or below.gone or below.inode != info.st_ino:
                        below = _Folder(folder, prefix + name, info)
                        new.append(below)
                    else:
                        del known[name]
                        below.mode = stat.S_IMODE(info.st_mode)
                    folder.folders[name] = below
                elif info.st_nlink > 1:
                    folder.shared.append((info.st_ino, prefix + name, info.st_nlink))
                if kind == SYMLINK:
                    folder.targets[name] = os.readlink(item.path)
                folder.items.append((name, kind, info))
        folder.items.sort()
        self._forget(known.values())
        (self._sharing.add if folder.shared else self._sharing.discard)(folder)
        above: _Folder | None = folder
        while above is not None:
            above.digest, above = None, above.above
        return new

    def _forget(self, folders: Iterable[_Folder]) -> None:
        """Directories that are not where they were, and all below."""
        waiting = list(folders)
        for folder in waiting:
            waiting += folder.folders.values()
            folder.gone = True
            self._sharing.discard(folder)
            if self._watched.get(folder.watch) is folder:
                del self._watched[folder.watch]

    def _watch(self, folder: _Folder, full: bytes) -> None:
        if self._watches is not None:
            try:
                folder.watch = self._watches.watch(full)
                self._watched[folder.watch] = folder
            except OSError:
                self._blind = True

    def _open(self, folder: _Folder | None) -> None:
        """Lend ourselves what permissions are lacking on the way into a directory, until `_close`."""
        way: list[_Folder] = []
        while folder is not None:
            if folder.mode & 0o700 != 0o700 and folder not in self._opened:
                way.append(folder)
            folder = folder.above
        for each in reversed(way):
            os.chmod(self._full(each.path), each.mode | 0o700)
            self._opened.append(each)

    def _close(self) -> None:
        if self._opened:
            while self._opened:
                folder = self._opened.pop()
                os.chmod(self._full(folder.path), folder.mode)
            self.own_doing()

    # ---- naming ------------------------------------------------------------------------------------------------------

    def _name(self, found: Found, doubted: set[int] | None) -> None:
        """Make the objects that have to be made, the tree's last."""
        assert self._top is not None
        order = [self._top]
        for folder in order:
            order += [below for below in folder.folders.values() if below.digest is None]
        known, contents = self._contents, found.contents
        seen: dict[int, tuple[int, int, bytes]] = {}
        for folder in reversed(order):
            entries: list[Entry] = []
            prefix = folder.path + b"/" if folder.path else b""
            for name, kind, info in folder.items:
                mode = stat.S_IMODE(info.st_mode)
                if kind == FILE:
                    inode = info.st_ino
                    content = seen.get(inode)
                    if content is None:
                        content = known.get(inode)
                        if (
                            content is None
                            or content[0] != info.st_ctime_ns
                            or content[1] != info.st_size
                            or doubted is None
                            or inode in doubted
                        ):
                            content = self._read(prefix + name, info, found)
                        seen[inode] = content
                        contents[content[2]] = content[1], prefix + name
                    entries.append((name, kind, mode, content[2]))
                elif kind == DIRECTORY:
                    entries.append((name, kind, mode, folder.folders[name].digest or b""))
                elif kind == SYMLINK:
                    entries.append((name, kind, 0, folder.targets[name]))
                else:
                    entries.append((name, kind, mode, b""))
            folder.digest = found.make(encode_directory(entries))
        if found.whole:
            self._contents, self._most_contents = seen, len(seen)
            self._outgrows(len(seen), sum(size for _, size, _ in seen.values()))
        else:
            self._contents.update(seen)
        self._touched.clear()
        groups: dict[int, list[bytes]] = {}
        for holder in self._sharing:
            for inode, path, _ in holder.shared:
                groups.setdefault(inode, []).append(path)
        links = found.make_links(groups.values())
        found.tree = found.make(encode_tree(self._top.mode, self._top.digest or b"", links))

    def _read(self, path: bytes, info: os.stat_result, found: Found) -> tuple[int, int, bytes]:
        """Ctime, size and digest of a file."""
        name = found.read(self._chunks(path, info.st_size), info.st_size)
        if not info.st_mode & stat.S_IRUSR:
            info = os.lstat(self._full(path))  # lending the permission changed its ctime
        return info.st_ctime_ns, info.st_size, name

    def _chunks(self, path: bytes, size: int) -> Iterator[bytes]:
        full = self._full(path)
        mode = stat.S_IMODE(os.lstat(full).st_mode)
        if not mode & stat.S_IRUSR:
            os.chmod(full, mode | stat.S_IRUSR)
        try:
            file = os.open(full, _READ)
        finally:
            if not mode & stat.S_IRUSR:
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

    def _full(self, path: bytes) -> bytes:
        return b"%b/%b" % (self._root, path) if path else self._root
