"""A filter of system calls: what no coding agent needs, and what bugs of the kernel are mostly reached through.

The filter is a program of classic BPF, as `bwrap --seccomp` takes it, written here for x86-64 and 64-bit ARM. It is a
list of what is refused, since programs that agents build and run use nearly everything else. Refused with EPERM, as if
a privilege were missing: mounting, namespaces, modules, keys, tracing other processes' memory, the clock and the like.
Refused with ENOSYS, as if the kernel were older, so that programs fall back: io_uring, the new mount calls, clone3
(whose flags a filter cannot see), userfaultfd, and every call that is newer than this list. A call of another
architecture kills the process.

What this does not protect against: bugs of the kernel in what every program needs, such as memory, files, pipes,
threads and Unix sockets.
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Iterator
from contextlib import contextmanager

# Numbers of system calls, for x86-64 and for 64-bit ARM; `None` where there is none.
_Numbers = tuple[int | None, int | None]
_FORBIDDEN: dict[str, _Numbers] = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "finit_module": (313, 273),
    "init_module": (175, 105),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "lsm_set_self_attr": (460, 460),
    "migrate_pages": (256, 238),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "move_pages": (279, 239),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "sysfs": (139, None),
    "umount2": (166, 39),
    "uselib": (134, None),
    "ustat": (136, None),
    "vhangup": (153, 58),
}
_ABSENT: dict[str, _Numbers] = {
    "clone3": (435, 435),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "listmount": (458, 458),
    "memfd_secret": (447, 447),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "statmount": (457, 457),
    "userfaultfd": (323, 282),
    "vmsplice": (278, 75),
}
# Memory that belongs to no process: only a control group counts it.
_UNCOUNTED: dict[str, _Numbers] = {
    "memfd_create": (319, 279),
    "shmget": (29, 194),
}
# Whatever a newer kernel adds, nobody here has thought about. The alternative calls of x86-64 (x32) are above, too.
_FIRST_UNKNOWN = 470
_CLONE = (56, 220)
_UNSHARE = (272, 97)
_IOCTL = (16, 29)
_PERSONALITY = (135, 92)
_SOCKET = (41, 198)
_SOCKETPAIR = (53, 199)

_NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
_NEW_TIME = 0x80  # the time namespace for `unshare`; for `clone`, part of the number of a signal
# Typing into a terminal, its copy and paste, and other line disciplines, which load modules of the kernel.
_TERMINAL_REQUESTS = (0x5412, 0x541C, 0x5423)
# Those of Docker's filter, and the one without random addresses, which debuggers and sanitizers ask for.
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0x40000, 0xFFFFFFFF)
_UNIX = 1
# Internet of both versions (default, ICMP, TCP, UDP) and asking the kernel for routes, which resolvers do. Every other
# family is a driver that hardly anybody uses; that of virtual machines (vsock) would reach past all namespaces.
_PROTOCOLS = {2: (0, 1, 6, 17), 10: (0, 6, 17, 58), 16: (0,)}

# What the kernel calls each architecture in `struct seccomp_data`, and its column above.
_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in that struct
_LOAD, _RETURN = 0x20, 0x06
_IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT = 0x15, 0x35, 0x45
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000


def supported(machine: str = platform.machine()) -> bool:
    """True if there is a filter for `machine`, as `platform.machine` has it."""
    return machine in _MACHINES


def program(machine: str = platform.machine(), *, counted: bool = True) -> bytes:
    """The filter as an array of `struct sock_filter`.

    Args:
        machine: the architecture it is for, as `platform.machine` has it.
        counted: false where no control group counts all memory: then memory that belongs to no process is refused too.

    Raises:
        ValueError: there is no filter for `machine`.
    """
    if machine not in _MACHINES:
        raise ValueError(f"no filter of system calls for {machine!r}")
    audit, column = _MACHINES[machine]
    absent = _ABSENT if counted else _ABSENT | _UNCOUNTED
    code = _Code()
    code.load(_ARCHITECTURE)
    code.unless(_IF_EQUAL, audit, _KILL)
    code.load(_NUMBER)
    code.when(_IF_AT_LEAST, _FIRST_UNKNOWN, _refusal(errno.ENOSYS))
    for table, number in ((_FORBIDDEN, errno.EPERM), (absent, errno.ENOSYS)):
        for call in table.values():
            if (forbidden := call[column]) is not None:
                code.when(_IF_EQUAL, forbidden, _refusal(number))
    with code.only_if(_CLONE[column]):
        code.argument(0)
        code.when(_IF_ANY_BIT, _NAMESPACES, _refusal(errno.EPERM))
        code.answer(_ALLOW)
    with code.only_if(_UNSHARE[column]):
        code.argument(0)
        code.when(_IF_ANY_BIT, _NAMESPACES | _NEW_TIME, _refusal(errno.EPERM))
        code.answer(_ALLOW)
    with code.only_if(_IOCTL[column]):
        code.argument(1)
        for request in _TERMINAL_REQUESTS:
            code.when(_IF_EQUAL, request, _refusal(errno.EPERM))
        code.answer(_ALLOW)
    with code.only_if(_PERSONALITY[column]):
        code.argument(0)
        for persona in _PERSONALITIES:
            code.when(_IF_EQUAL, persona, _ALLOW)
        code.answer(_refusal(errno.EPERM))
    with code.only_if(_SOCKETPAIR[column]):
        code.argument(0)
        code.unless(_IF_EQUAL, _UNIX, _refusal(errno.EAFNOSUPPORT))
        code.answer(_ALLOW)
    with code.only_if(_SOCKET[column]):
        code.argument(0)
        code.when(_IF_EQUAL, _UNIX, _ALLOW)
        for family, protocols in _PROTOCOLS.items():
            with code.only_if(family):
                code.argument(2)
                for protocol in protocols:
                    code.when(_IF_EQUAL, protocol, _ALLOW)
                code.answer(_refusal(errno.EPROTONOSUPPORT))
        code.answer(_refusal(errno.EAFNOSUPPORT))
    code.answer(_ALLOW)
    return code.assembled()


def _refusal(number: int) -> int:
    return _ERROR | number


class _Code:
    """Instructions of classic BPF; jumps go forward only, at most 255 instructions far."""

    def __init__(self) -> None:
        self._instructions: list[tuple[int, int, int, int]] = []

    def load(self, offset: int) -> None:
        """Load 32 bits of `struct seccomp_data`."""
        self._add(_LOAD, offset)

    def argument(self, position: int) -> None:
        """Load the lower half of an argument; both machines are little-endian, and what is compared has 32 bits."""
        self.load(_ARGUMENTS + 8 * position)

    def answer(self, answer: int) -> None:
        """What becomes of the call."""
        self._add(_RETURN, answer)

    def when(self, test: int, value: int, answer: int) -> None:
        """`answer` if the test holds."""
        self._add(test, value, 0, 1)
        self.answer(answer)

    def unless(self, test: int, value: int, answer: int) -> None:
        """`answer` if the test does not hold."""
        self._add(test, value, 1, 0)
        self.answer(answer)

    @contextmanager
    def only_if(self, value: int) -> Iterator[None]:
        """What is added inside runs only if what is loaded equals `value`; it must end in an answer."""
        position = len(self._instructions)
        self._add(_IF_EQUAL, value)
        yield
        self._instructions[position] = (_IF_EQUAL, 0, len(self._instructions) - position - 1, value)

    def assembled(self) -> bytes:
        """The program, as an array of `struct sock_filter`."""
        return b"".join(struct.pack("=HBBI", *instruction) for instruction in self._instructions)

    def _add(self, code: int, value: int, yes: int = 0, no: int = 0) -> None:
        self._instructions.append((code, yes, no, value))
