"""What the kernel (inotify) reports of directories since we last looked, also where no time of a file tells it.

A write through a shared memory map does not show in the times of a file on tmpfs. But the kernel reports that a file
opened for writing was closed, and it is closed only when its last mapping is gone, also when its process was killed.
"""

from __future__ import annotations

import ctypes
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_MODIFY, _ATTRIB, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x4, 0x8, 0x40, 0x80, 0x100, 0x200
_OVERFLOW, _IGNORED, _DIRECTORY = 0x4000, 0x8000, 0x40000000
_ONLY_DIRECTORIES, _NEVER_LINKS = 0x1000000, 0x2000000
_WRITTEN = _MODIFY | _CLOSE_WRITE
_ALL = _WRITTEN | _ATTRIB | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
_EVENT = struct.Struct("iIII")


class Reported:
    """What has happened.

    Attributes:
        touched: numbers of the watches on directories in which something is not as it was.
        written: number of a watch, and name in its directory, of each file whose content may have changed.
        gone: numbers of watches whose directory is no more.
        complete: whether this is all; false if there was more than the kernel could remember.
        hidden: whether a name appeared and is gone again, or a directory appeared. Something may have happened through
            such a name, or in such a directory, to a file that has another name somewhere else.
    """

    __slots__ = ("_appeared", "_moving", "complete", "gone", "hidden", "touched", "written")

    def __init__(self) -> None:
        self.touched: set[int] = set()
        self.written: set[tuple[int, bytes]] = set()
        self.gone: set[int] = set()
        self.complete = True
        self.hidden = False
        self._appeared: set[tuple[int, bytes]] = set()
        self._moving: set[int] = set()

    def add(self, number: int, mask: int, cookie: int, name: bytes) -> None:
        """One event, as the kernel tells it; those of files that were written to have been dealt with."""
        if mask & _OVERFLOW:
            self.complete = False
            return
        if mask & _IGNORED:
            self.gone.add(number)
            return
        self.touched.add(number)
        where = number, name
        if mask & _CREATE:
            self._appeared.add(where)
            self.hidden = self.hidden or bool(mask & _DIRECTORY)
        elif mask & (_DELETE | _MOVED_FROM | _MOVED_TO) and where in self._appeared:
            self._appeared.discard(where)
            if mask & _MOVED_FROM:
                self._moving.add(cookie)
            else:
                self.hidden = True
        if mask & _MOVED_TO and cookie in self._moving:
            self._moving.discard(cookie)
            self._appeared.add(where)

    def end(self) -> None:
        """There are no more events."""
        self.hidden = self.hidden or bool(self._moving)


class Watches:
    """Watches on directories, which they keep however the directories are moved.

    Raises:
        OSError: the kernel gives us none, or this is no Linux.
    """

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            self._add = libc.inotify_add_watch
            self._descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        except AttributeError:
            raise OSError("this system has no inotify") from None
        self._add.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "no inotify")

    def watch(self, folder: bytes) -> int:
        """Watch what is directly in a directory from now on; the number of its watch, the same each time.

        Raises:
            OSError: there are too many watches, or it is no directory that we may read.
        """
        number: int = self._add(self._descriptor, folder, _ALL | _ONLY_DIRECTORIES | _NEVER_LINKS)
        if number < 0:
            raise OSError(ctypes.get_errno(), "no watch", folder)
        return number

    def reported(self) -> Reported:
        """What has happened since the last call."""
        found = Reported()
        while True:
            try:
                events = os.read(self._descriptor, 1 << 16)
            except BlockingIOError:
                found.end()
                return found
            at = 0
            while at < len(events):
                number, mask, cookie, length = _EVENT.unpack_from(events, at)
                at += _EVENT.size
                name = events[at : at + length].rstrip(b"\0")
                at += length
                if mask & _WRITTEN:  # most are
                    found.touched.add(number)
                    found.written.add((number, name))
                else:
                    found.add(number, mask, cookie, name)

    def close(self) -> None:
        """Give up all watches."""
        os.close(self._descriptor)


def held_open(processes: Iterable[int]) -> set[int] | None:
    """Inodes of the files that processes, all frozen, could write to: opened for writing, or mapped and shared.

    Returns:
        `None` if one of them does not let itself be looked at.
    """
    found: set[int] = set()
    for process in processes:
        try:
            with open(f"/proc/{process}/maps", "rb") as maps:
                # A shared map may be made writable later.
                found.update(int(fields[4]) for fields in map(bytes.split, maps) if fields[1].endswith(b"s"))
            for thread in os.listdir(f"/proc/{process}/task"):
                found |= _open_for_writing(f"/proc/{process}/task/{thread}")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
        except PermissionError:
            return None
    return found


def _open_for_writing(thread: str) -> set[int]:
    found: set[int] = set()
    for number in os.listdir(f"{thread}/fd"):
        try:
            with open(f"{thread}/fdinfo/{number}", "rb") as about:
                flags = next(int(line.split()[1], 8) for line in about if line.startswith(b"flags:"))
            if flags & os.O_ACCMODE != os.O_RDONLY:
                found.add(os.stat(f"{thread}/fd/{number}").st_ino)
        except FileNotFoundError:
            continue
    return found
