"""Nothing can be won: no namespace, mount, device, capability or setting of the machine, and no way to the terminal."""

from __future__ import annotations

import ctypes
import os
import secrets

from agentdistill.testing.sandboxes.bench import Bench, Failed, one_line, require
from agentdistill.testing.sandboxes.escapes import Escape
from agentdistill.testing.sandboxes.harness import Harness
from agentdistill.testing.sandboxes.programs import run_inside
from agentdistill.testing.sandboxes.suite import threat

# ---- programs --------------------------------------------------------------------------------------------------------


def _makes_user_namespace() -> str:
    import ctypes
    import os

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10000000) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "a user namespace of its own"


def _clones_user_namespace() -> str:
    """The other way into a namespace: a child that is born in one (by `clone3`, which filters cannot look into)."""
    import ctypes
    import os
    import struct

    libc = ctypes.CDLL(None, use_errno=True)
    arguments = struct.pack("=8Q", 0x10000000, 0, 0, 0, 17, 0, 0, 0)
    child = libc.syscall(435, arguments, len(arguments))
    if child == 0:
        os._exit(0)
    if child < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.waitpid(child, 0)
    return "a child in a user namespace"


def _mounts() -> str:
    """In a mount namespace of its own if one can be had, so that outside nothing is left of it."""
    import ctypes
    import os

    libc = ctypes.CDLL(None, use_errno=True)
    os.mkdir("mountpoint")
    if libc.unshare(0x00020000) != 0:
        libc.unshare(0x10000000 | 0x00020000)
    libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None)  # private, or the host would see it
    if libc.mount(b"none", b"mountpoint", b"tmpfs", 0, None) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "a file system was mounted"


def _changes_root() -> str:
    import ctypes
    import os

    os.mkdir("new-root")
    try:
        os.chroot("new-root")
    except PermissionError:
        ctypes.CDLL(None).unshare(0x10000000)
        os.chroot("new-root")
    return "the root was changed"


def _may_gain_privileges() -> str:
    with open("/proc/self/status") as file:
        fields = dict(line.split(":\t", 1) for line in file if ":\t" in line)
    if fields["NoNewPrivs"].strip() == "1":
        raise PermissionError("no-new-privileges is set")
    return "setuid programs gain privileges"


def _is_unfiltered() -> str:
    with open("/proc/self/status") as file:
        fields = dict(line.split(":\t", 1) for line in file if ":\t" in line)
    if fields["Seccomp"].strip() == "2":
        raise PermissionError("system calls are filtered")
    return "every system call is let through"


def _has_capabilities() -> str:
    with open("/proc/self/status") as file:
        held = [line.strip().replace("\t", " ") for line in file if line.startswith("Cap") and int(line.split()[1], 16)]
    if not held:
        raise PermissionError("every set of capabilities is empty")
    return ", ".join(held)


def _makes_device() -> str:
    """The number is that of /dev/null: harmless wherever it works."""
    import os
    import stat

    os.mknod("device", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    return "a device was made"


def _has_odd_devices() -> str:
    """Devices in /dev but for those that do nothing and those of terminals."""
    import os
    import stat

    harmless = {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "console"}
    found, seen = [], set()
    for folder, _, names in os.walk("/dev"):
        for name in names:
            mode = os.lstat(folder + "/" + name).st_mode
            if stat.S_ISBLK(mode) or stat.S_ISCHR(mode):
                seen.add(name)
                if name not in harmless and not folder.startswith("/dev/pts"):
                    found.append(folder + "/" + name)
    if "null" not in seen:
        return "not even /dev/null was seen"
    if not found:
        raise FileNotFoundError("only harmless devices")
    return " ".join(found)


def _sets_clock() -> str:
    """Set the clock's rate to what it is: nothing changes, but it takes the right to change it."""
    import ctypes
    import os
    import struct

    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(256)
    libc.clock_adjtime(0, buffer)
    struct.pack_into("I", buffer, 0, 2)
    if libc.clock_adjtime(0, buffer) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "the clock may be set"


def _sets_hostname(name: str, namespace: str) -> str:
    """Set the host's name to what it is; one in a namespace of its own does not count."""
    import os
    import socket

    socket.sethostname(name)
    if os.readlink("/proc/self/ns/uts") != namespace:
        raise PermissionError("only a name of its own was set")
    return "the name of the host was set"


def _knows_hostname(name: str) -> str:
    import os

    with open("/proc/sys/kernel/hostname") as file:
        told = [os.uname().nodename, file.read().strip()]
    if name not in told:
        raise FileNotFoundError("the name told is " + told[0])
    return name


def _reads_shared_memory(key: str) -> str:
    import ctypes
    import os

    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    segment = libc.shmget(int(key), 0, 0)
    if segment < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    place = libc.shmat(segment, None, 0o10000)
    return ctypes.string_at(place).decode()


def _makes_dangerous_calls() -> str:
    """Calls that have let programs out of many a sandbox; with arguments that do nothing where they are let through."""
    import ctypes
    import errno
    import platform

    libc = ctypes.CDLL(None, use_errno=True)
    arm = platform.machine() == "aarch64"
    calls = {
        "keyctl": (219 if arm else 250, 0, -3, 0),
        "add_key": (217 if arm else 248, None, None, None, 0, 0),
        "userfaultfd": (282 if arm else 323, -1),
        "io_uring_setup": (425, 0, None),
        "bpf": (280 if arm else 321, 9999, None, 0),
        "perf_event_open": (241 if arm else 298, None, 0, -1, -1, 0),
        "open_by_handle_at": (265 if arm else 304, -1, None, 0),
    }
    through = []
    for name, call in calls.items():
        ctypes.set_errno(0)
        if libc.syscall(*call) >= 0 or ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS, errno.EACCES):
            through.append(name)
    if not through:
        raise PermissionError("all refused: " + " ".join(calls))
    return " ".join(through)


def _has_terminal() -> str:
    """The terminal we were started from; typing into it (TIOCSTI) would run a command when we are gone."""
    import fcntl
    import os
    import termios

    handle = os.open("/dev/tty", os.O_RDWR)
    try:
        fcntl.ioctl(handle, termios.TIOCSTI, b" ")
    except OSError as error:
        return "it is open, but this kernel lets nobody type into it (" + str(error) + ")"
    return "it was typed into"


# ---- the checks ------------------------------------------------------------------------------------------------------


def user_namespaces_cannot_be_made(bench: Bench) -> str:
    """No user namespace can be made inside: it would give back every capability within it."""
    Escape(_clones_user_namespace, shown_where_possible=True).fails_in(bench.sandbox())
    return Escape(_makes_user_namespace, shown_where_possible=True).fails_in(bench.sandbox())


def file_systems_cannot_be_mounted(bench: Bench) -> str:
    """Nothing can be mounted, not in namespaces of its own either."""
    return Escape(_mounts, only_root=True).fails_in(bench.sandbox())


def root_cannot_be_changed(bench: Bench) -> str:
    """`chroot` is refused."""
    return Escape(_changes_root, only_root=True).fails_in(bench.sandbox())


def capabilities_are_empty(bench: Bench) -> str:
    """A command holds no capability and can be given none."""
    return Escape(_has_capabilities, shown_where_possible=True).fails_in(bench.sandbox())


def setuid_programs_gain_nothing(bench: Bench) -> str:
    """No program that is run gains privileges: no-new-privileges is set."""
    return Escape(_may_gain_privileges, shown_where_possible=True).fails_in(bench.sandbox())


@threat("kernel attack surface")
def system_calls_are_filtered(bench: Bench) -> str:
    """System calls are filtered, and those that have led out of many a sandbox are refused."""
    Escape(_is_unfiltered, shown_where_possible=True).fails_in(bench.sandbox())
    return Escape(_makes_dangerous_calls, shown_where_possible=True).fails_in(bench.sandbox())


def devices_cannot_be_made(bench: Bench) -> str:
    """No device can be made in the workspace."""
    return Escape(_makes_device, only_root=True).fails_in(bench.sandbox())


def devices_are_harmless(bench: Bench) -> str:
    """There are no devices but those that do nothing, and terminals of its own."""
    return Escape(_has_odd_devices, shown_where_possible=True).fails_in(bench.sandbox())


def clock_cannot_be_set(bench: Bench) -> str:
    """The clock of the machine cannot be set."""
    return Escape(_sets_clock, only_root=True, shown_where_possible=True).fails_in(bench.sandbox())


def hostname_cannot_be_set(bench: Bench) -> str:
    """The name of the host cannot be set."""
    arguments = (os.uname().nodename, os.readlink("/proc/self/ns/uts"))
    return Escape(_sets_hostname, arguments, only_root=True).fails_in(bench.sandbox())


def hostname_is_not_told(bench: Bench) -> str:
    """The name of the host is not told: a record made here would differ from one made there."""
    return Escape(_knows_hostname, (os.uname().nodename,)).fails_in(bench.sandbox())


def shared_memory_of_the_host_is_not_seen(bench: Bench) -> str:
    """A segment of shared memory that any process of the host may read cannot be read inside."""
    secret = f"secret-{secrets.token_hex(8)}"
    key = 1 + secrets.randbelow(1 << 30)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    segment = libc.shmget(key, 100, 0o1000 | 0o666)
    if segment < 0:
        raise Failed(f"nothing is shown: the host gives no shared memory ({os.strerror(ctypes.get_errno())})")
    bench.on_close(libc.shmctl, segment, 0, None)
    place = libc.shmat(segment, None, 0)
    ctypes.memmove(place, secret.encode(), len(secret) + 1)
    libc.shmdt(ctypes.c_void_p(place))
    return Escape(_reads_shared_memory, (str(key),), proof=secret).fails_in(bench.sandbox())


def terminal_cannot_be_typed_into(bench: Bench) -> str:
    """A program started from a terminal runs its commands without one: nobody types into it (TIOCSTI)."""
    with Harness(bench, terminal=True) as harness:
        outside = harness.bare(_has_terminal)
        require(outside.startswith("reached: "), f"nothing is shown: {one_line(outside)}")
        inside = harness.inside(_has_terminal)
    require(inside.startswith("stopped: "), f"it has the terminal: {one_line(inside)}")
    return one_line(inside)


def input_is_at_its_end(bench: Bench) -> str:
    """Standard input is at its end, and neither it nor the output is a terminal."""
    sandbox = bench.sandbox()
    inside = run_inside(sandbox, _reads_input)
    require(inside.output == "reached: \n", f"it has input or a terminal: {one_line(inside.output)}")
    return "input is at its end"


def _reads_input() -> str:
    import os

    terminals = [str(handle) for handle in range(3) if os.isatty(handle)]
    return " ".join(terminals) + os.read(0, 100).decode()
