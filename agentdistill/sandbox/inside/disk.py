"""How much a container has written beyond its image, where no file system bounds it: checked while commands run.

To measure that takes a while, so it is done only now and then (`_MEASURED` seconds), and when there is a sign that it
may be too much: less room on the engine's disk, which others use too, or what the kernel counted of our own processes'
writing.
"""

import os
import resource
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .rootfs import RootFolders

_MEASURED = 1.0
_BLOCK = 512
_SLACK = 1 << 20
_SLACK_FILES = 1000


class Disk:
    """The container's share of the disk.

    Args:
        folders: all it holds.
        most_bytes: of files beyond the image.
        most_files: likewise, directories and links too.
    """

    checked = 0.25
    """Seconds of a command between two questions whether it is over its share."""

    def __init__(self, folders: "RootFolders", most_bytes: int, most_files: int) -> None:
        self._folders = folders
        self._most = most_bytes, most_files
        self._looks = -1
        self._measured = 0.0
        self._free = 0, 0
        self._written = 0
        self._used = 0, 0
        self.begin()

    def begin(self) -> None:
        """A command begins. Nothing has been written since the last look, if there was one since the last command."""
        if self._looks != self._folders.looks:
            self._looks = self._folders.looks
            self._note(self._folders.used)

    def is_over(self, ended: bool = False) -> bool:
        """Whether the container holds more than it may, and has written something lately.

        Args:
            ended: the command and all it started has ended; else it runs on.
        """
        since = time.monotonic() - self._measured
        if since < (self.checked if ended else _MEASURED) and self._has_room(0, 0, ended):
            return False
        self._note(self._folders.measure())
        return self._used[0] > self._most[0] or self._used[1] > self._most[1]

    def has_room(self, size: int) -> bool:
        """Whether one more file of so many bytes is within what the container may hold."""
        if not self._has_room(size, 1, True):
            self._note(self._folders.measure())
        return self._used[0] + size <= self._most[0] and self._used[1] < self._most[1]

    def _has_room(self, size: int, files: int, ended: bool) -> bool:
        """Whether nothing says that there is no room for so much more."""
        free, most, used = _left(), self._most, self._used
        grown = self._free[0] - free[0]
        if ended:
            grown = max(grown, (_written() - self._written) * _BLOCK)
        slack, slack_files = (0, 0) if size else (_SLACK, _SLACK_FILES)
        enough = grown + size <= max(slack, most[0] - used[0])
        return enough and self._free[1] - free[1] + files <= max(slack_files, most[1] - used[1])

    def _note(self, used: "tuple[int, int]") -> None:
        self._used, self._free, self._written, self._measured = used, _left(), _written(), time.monotonic()


def _left() -> "tuple[int, int]":
    """Bytes and files that there is room for on the disk."""
    room = os.statvfs("/")
    return room.f_bavail * room.f_frsize, room.f_favail


def _written() -> int:
    """Blocks that processes of ours wrote which have ended, and this one."""
    own, others = (resource.getrusage(who).ru_oublock for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own + others
