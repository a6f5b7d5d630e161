"""What the kernel does for the judge: nobody opens its memory, orphans come to it, the tests' files are walled off.

The code under test runs as the same user as the judge, since nobody without privileges can be two users. So that user's
rights have to be taken from it: by making the judge undumpable, which closes its ``/proc`` entries and ptrace, and by
Landlock (Linux 5.13), which closes folders; since ABI 6 (Linux 6.12) it keeps signals from the judge too.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import stat
import struct
import time

_LIBC = ctypes.CDLL(None, use_errno=True)
_SET_DUMPABLE, _SET_CHILD_SUBREAPER, _SET_NO_NEW_PRIVS = 4, 36, 38
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_PATH_BENEATH = 1
# What may be done in a directory but not to a file: listing, removing, making and moving.
_FOLDER_ONLY = 0b11_1111_1111_1000
_SWEEP_SECONDS = 5.0


def become_a_judge() -> None:
    """Close this process and those forked from it to others of the same user, and adopt every orphan below it.

    Raises:
        OSError: the kernel refused.
    """
    _prctl(_SET_DUMPABLE, 0)
    _prctl(_SET_CHILD_SUBREAPER, 1)


def can_wall_off() -> bool:
    """Whether this kernel has Landlock."""
    return _landlock_version() > 0


def wall_off(folders: tuple[str, ...]) -> None:
    """Take from this process and its children everything below `folders`; without Landlock, nothing happens.

    Directories above them can no longer be listed, nor can anything be made in them.

    Raises:
        OSError: the kernel has Landlock and refused.
    """
    version = _landlock_version()
    if version < 1:
        return
    rights = 13 + (version >= 2) + (version >= 3)  # moving between directories came with 2, truncating with 3
    everything = (1 << rights) - 1
    attributes = struct.pack("QQQ", everything, 0, 0b11 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _checked(_LIBC.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(size), 0))
    try:
        for path in _all_but(folders):
            _grant(ruleset, path, everything)
        _prctl(_SET_NO_NEW_PRIVS, 1)
        _checked(_LIBC.syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def sweep(seconds: float = _SWEEP_SECONDS) -> bool:
    """Kill every process below this one, however it detached itself; false if some are left after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for child in _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        try:
            # The killed one's children come to us, so it ends only when nobody is left.
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.001)
        except ChildProcessError:
            return True
    return False


def _children() -> list[int]:
    own = str(os.getpid())
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/" + name + "/stat", "rb") as file:
                    # The name in brackets may hold anything, brackets and spaces too.
                    parent = file.read().rpartition(b")")[2].split()[1]
            except (OSError, IndexError):
                continue
            if parent.decode() == own:
                found.append(int(name))
    return found


def _all_but(folders: tuple[str, ...], above: str = "/") -> list[str]:
    """The fewest paths that together hold everything except `folders`."""
    found = []
    for name in os.listdir(above):
        path = os.path.join(above, name)
        if path in folders:
            continue
        if any(folder.startswith(path + "/") for folder in folders):
            found += _all_but(folders, path)
        else:
            found.append(path)
    return found


def _grant(ruleset: int, path: str, rights: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return  # gone by now, or closed to us as well
    try:
        kind = os.fstat(opened).st_mode
        if stat.S_ISLNK(kind):
            return  # what it leads to is granted where it lies
        allowed = rights if stat.S_ISDIR(kind) else rights & ~_FOLDER_ONLY
        _checked(_LIBC.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", allowed, opened), 0))
    finally:
        os.close(opened)


def _landlock_version() -> int:
    return int(_LIBC.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1))


def _prctl(option: int, value: int) -> None:
    _checked(_LIBC.prctl(option, ctypes.c_ulong(value), 0, 0, 0))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
