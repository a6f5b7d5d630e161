"""Which files were written to, told by the kernel (inotify), also where no time of the file tells it.

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

_MODIFY, _CLOSE_WRITE, _OVERFLOW, _IGNORED = 0x2, 0x8, 0x4000, 0x8000
_ONLY_DIRECTORIES, _NEVER_LINKS = 0x01000000, 0x02000000

_EVENT = struct.Struct("iIII")


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
        number: int = self._add(self._descriptor, folder, _MODIFY | _CLOSE_WRITE | _ONLY_DIRECTORIES | _NEVER_LINKS)
        if number < 0:
            raise OSError(ctypes.get_errno(), "no watch", folder)
        return number

    def reported(self) -> tuple[set[tuple[int, bytes]], bool]:
        """What was written to since the last call: number of the watch and name in its directory.

        The second value is true if there was more than the kernel could remember.
        """
        found: set[tuple[int, bytes]] = set()
        overflowed = False
        while True:
            try:
                events = os.read(self._descriptor, 1 << 16)
            except BlockingIOError:
                return found, overflowed
            at = 0
            while at < len(events):
                number, mask, _, length = _EVENT.unpack_from(events, at)
                at += _EVENT.size
                name = events[at : at + length].rstrip(b"\0")
                at += length
                if mask & _OVERFLOW:
                    overflowed = True
                elif not mask & _IGNORED:
                    found.add((number, name))

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
