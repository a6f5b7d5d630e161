"""Becoming an ordinary user for good, for an agent that was started as root of its user namespace.

As root there it may do what nobody outside can do for it: give the filesystems in memory a number of files, and hide
itself. Then it gives up root and every privilege, and lets no other user namespace be made, which would give them back.
"""

import os
import sys

_MS_RDONLY, _MS_NOEXEC, _MS_REMOUNT, _MS_BIND = 1, 8, 32, 4096
_BARE = 2 | 4  # neither setuid nor devices
_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_CAPBSET_DROP = 1, 22, 24
_SIGKILL = 9
_SECCOMP_MODE_FILTER = 2
_CAPABILITIES_VERSION = 0x20080522

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def lower(uid: int, mapped: bool, sizes: "dict[str, list[int]]") -> None:
    """Become user and group `uid`, without any privilege, and without a way to have one again.

    Args:
        uid: the user to be.
        mapped: whether that is somebody in this user namespace; if not, root becomes it in a further one.
        sizes: how many bytes and how many files the filesystem mounted at each path may hold.

    Raises:
        OSError: the kernel did not do it.
    """
    itself = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for path, (size, files) in sizes.items():
        options = b"size=%d,nr_inodes=%d" % (size, files)
        _call("mount", b"none", os.fsencode(path), None, _MS_REMOUNT | _BARE, options)
    if not mapped:
        _write("/proc/sys/user/max_user_namespaces", b"1")
        # Whoever has root's number outside owns some of the kernel's settings for our namespaces.
        _call("mount", b"/proc/sys", b"/proc/sys", None, _MS_BIND, None)
        _call("mount", b"none", b"/proc/sys", None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOEXEC | _BARE, None)
    # Commands may be the same user as we were, who owns what is shown of us: nothing is.
    _call("mount", b"none", b"/proc/1", b"tmpfs", _MS_RDONLY | _MS_NOEXEC | _BARE, b"mode=555,size=4096,nr_inodes=1")
    if not mapped:
        _call("unshare", _CLONE_NEWUSER)
        _write("setgroups", b"deny", itself)
        for kind in ("uid", "gid"):
            _write(f"{kind}_map", b"%d 0 1" % uid, itself)
    capability = 0
    while _function("prctl")(_PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1  # up to the first that the kernel does not know
    status = os.open("status", os.O_RDONLY | os.O_CLOEXEC, dir_fd=itself)
    if mapped:
        for path in sizes:
            os.chown(path, uid, uid)
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    _call("capset", _CAPABILITIES_VERSION.to_bytes(4, sys.byteorder) + bytes(4), bytes(24))
    held = [int(line.split()[1], 16) for line in os.read(status, 1 << 16).splitlines() if line.startswith(b"Cap")]
    os.close(status)
    os.close(itself)
    # Forgotten by the kernel with every privilege that is given up.
    _call("prctl", _PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (uid, uid, uid) or len(held) != 5 or any(held):
        raise OSError("the agent cannot give up its privileges")


def refuse_calls(program: bytes) -> None:
    """Have the kernel refuse system calls, to this process and all that it starts, for good.

    Args:
        program: which ones, as an array of `struct sock_filter`.

    Raises:
        OSError: the kernel did not do it.
    """
    # Where the contents of a `bytes` begin; to be told by `array`, whose loading takes longer than all the rest here.
    address = id(program) + bytes.__basicsize__ - 1
    described = (len(program) // 8).to_bytes(2, sys.byteorder) + bytes(6) + address.to_bytes(8, sys.byteorder)
    _call("prctl", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, described, 0, 0)


def _function(name: str) -> "Callable[..., int]":
    """A function of the C library; what is not a number is given as the address of its bytes."""
    # The inner half of `ctypes`, which takes a tenth of the time to load.
    from _ctypes import call_function, dlopen, dlsym

    address = dlsym(dlopen(None, 2), name)  # type: ignore[arg-type]
    return lambda *arguments: call_function(address, arguments)


def _call(name: str, *arguments: "bytes | int | None") -> None:
    if _function(name)(*arguments) != 0:
        raise OSError(f"the agent cannot give up its privileges: {name} fails")


def _write(path: str, text: bytes, folder: "int | None" = None) -> None:
    number = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.write(number, text)
    finally:
        os.close(number)
