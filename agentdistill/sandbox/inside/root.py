"""An agent that is root of a whole container: who its commands are, and what of it they cannot change for good.

The agent keeps two privileges from its commands: to make devices, and to take privileges away. So it can put back the
devices that the engine mounts below ``/dev``, which is in memory and no part of any snapshot.
"""

import os
import stat
import sys

from .lowering import _function
from .removal import remove

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_DEV = "/dev"
_PR_CAPBSET_DROP, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 24, 47, 4
_SETPCAP, _MKNOD = 8, 27
_OWN = (_MKNOD, _SETPCAP)
_CAPABILITIES_VERSION = 0x20080522


class CommandUser:
    """The user that commands run as.

    Args:
        user: its number.
        group: of its group.
        groups: of all its other groups.
    """

    def __init__(self, user: int, group: int, groups: "Sequence[int]") -> None:
        self.user, self.group, self.groups = user, group, list(groups)
        self._prctl, self._capset = _function("prctl"), _function("capset")
        with open("/proc/self/status", "rb") as file:
            permitted = next(int(line.split()[1], 16) for line in file if line.startswith(b"CapPrm:"))
        self._left = permitted & ~sum(1 << number for number in _OWN)

    def become(self) -> None:
        """Be that user in this process for good, without what only the agent may.

        Raises:
            OSError: the kernel did not do it.
        """
        for number in _OWN:
            self._check(self._prctl(_PR_CAPBSET_DROP, number, 0, 0, 0))
        self._check(self._prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
        os.setgroups(self.groups)
        os.setresgid(self.group, self.group, self.group)
        if self.user != 0:
            os.setresuid(self.user, self.user, self.user)
            return  # and the kernel takes every privilege
        header = _CAPABILITIES_VERSION.to_bytes(4, sys.byteorder) + bytes(4)
        halves = (self._left & 0xFFFFFFFF, self._left >> 32)
        # Effective, permitted, and nothing that would be inherited past the limit above.
        data = b"".join(half.to_bytes(4, sys.byteorder) * 2 + bytes(4) for half in halves)
        self._check(self._capset(header, data))

    def _check(self, result: int) -> None:
        if result != 0:
            raise OSError("the agent cannot take its own privileges from a command")


class Devices:
    """What is directly in ``/dev``, as it was at the start."""

    def __init__(self) -> None:
        self._mounts = {name for name in os.listdir(_DEV) if os.path.ismount(f"{_DEV}/{name}")}
        self._found = self._look()

    def put_back(self) -> None:
        """Make it so again.

        Raises:
            OSError: the engine does not let us make a device.
        """
        now = self._look()
        if now == self._found:
            return
        for name, is_now in now.items():
            if name and self._found.get(name) != is_now:
                remove(f"{_DEV}/{name}")
        for name, (mode, device, user, group, target) in self._found.items():
            path = f"{_DEV}/{name}"
            if not name or now.get(name) == self._found[name]:
                continue
            if stat.S_ISLNK(mode):
                os.symlink(target, path)
            else:
                os.mknod(path, mode, device)
            os.lchown(path, user, group)
            if not stat.S_ISLNK(mode):
                os.chmod(path, stat.S_IMODE(mode))
        os.chmod(_DEV, stat.S_IMODE(self._found[""][0]))
        os.chown(_DEV, *self._found[""][2:4])

    def _look(self) -> "dict[str, tuple[int, int, int, int, str]]":
        found = {}
        for name in ("", *os.listdir(_DEV)):
            if name in self._mounts:
                continue
            path = f"{_DEV}/{name}"
            info = os.lstat(path)
            target = os.readlink(path) if stat.S_ISLNK(info.st_mode) else ""
            found[name] = info.st_mode, info.st_rdev, info.st_uid, info.st_gid, target
        return found
