"""How much a container has written beyond its image, where no file system bounds it: checked while commands run.

The engine's disk tells how much room is left on it, which costs nothing to ask. When less is left than there was by
more than what the container has room for, what it really holds is measured: others use that disk too.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .rootfs import RootFolders

_SLACK = 1 << 20
_SLACK_FILES = 1000


class Disk:
    """The container's share of the disk.

    Args:
        folders: all it holds.
        most_bytes: of files beyond the image.
        most_files: likewise, directories and links too.
    """

    def __init__(self, folders: "RootFolders", most_bytes: int, most_files: int) -> None:
        self._folders = folders
        self._most = most_bytes, most_files
        self._looks = folders.looks
        self._free = self._left()
        self._used = 0, 0

    def begin(self) -> None:
        """A command begins. Nothing has been written since the last look, if there was one since the last command."""
        if self._looks != self._folders.looks:
            self._looks = self._folders.looks
            self._free, self._used = self._left(), self._folders.used

    def is_over(self) -> bool:
        """Whether the container holds more than it may, and has written something lately."""
        free = self._left()
        most, used, before = self._most, self._used, self._free
        much = before[0] - free[0] > max(_SLACK, most[0] - used[0])
        if not much and before[1] - free[1] <= max(_SLACK_FILES, most[1] - used[1]):
            return False
        self._used = self._folders.measure()
        self._free = free
        return self._used[0] > most[0] or self._used[1] > most[1]

    def _left(self) -> "tuple[int, int]":
        room = os.statvfs("/")
        return room.f_bavail * room.f_frsize, room.f_favail
