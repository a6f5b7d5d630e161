"""Processes of the host are neither seen, read, traced nor signalled; nor is the one that runs commands inside."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time

from agentdistill.testing.sandboxes.bench import Bench, require
from agentdistill.testing.sandboxes.escapes import Escape
from agentdistill.testing.sandboxes.programs import command_of, run_bare, run_inside

# ---- programs --------------------------------------------------------------------------------------------------------


def _finds_process(first: str, second: str) -> str:
    """Look for a process whose command line holds both halves joined."""
    import os

    for process in os.listdir("/proc"):
        try:
            with open("/proc/" + process + "/cmdline", "rb") as file:
                if (first + second).encode() in file.read():
                    return "process " + process
        except OSError:
            pass
    raise FileNotFoundError("no such process is seen")


def _signals(process: str, number: str) -> str:
    import os

    os.kill(int(process), int(number))
    return "signal " + number + " was sent"


def _reads_memory_by_proc(process: str, address: str, length: str) -> str:
    with open("/proc/" + process + "/mem", "rb") as memory:
        memory.seek(int(address))
        return memory.read(int(length)).decode(errors="replace")


def _reads_memory_by_call(process: str, address: str, length: str) -> str:
    import ctypes
    import os

    class Piece(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]

    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(int(length))
    here = Piece(ctypes.cast(buffer, ctypes.c_void_p), int(length))
    there = Piece(ctypes.c_void_p(int(address)), int(length))
    if libc.process_vm_readv(int(process), ctypes.byref(here), 1, ctypes.byref(there), 1, 0) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return buffer.raw.decode(errors="replace")


def _reads_memory_by_ptrace(process: str, address: str, length: str) -> str:
    import ctypes
    import os
    import sys

    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    attach, peek, detach = 16, 2, 17
    if libc.ptrace(attach, int(process), None, None) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.waitpid(int(process), 0)
    words = [libc.ptrace(peek, int(process), int(address) + offset, None) for offset in range(0, int(length), 8)]
    libc.ptrace(detach, int(process), None, None)
    return b"".join(word.to_bytes(8, sys.byteorder, signed=True) for word in words).decode(errors="replace")


def _looks_into(process: str) -> str:
    """Try, one after the other, whatever shows or changes another process of the same user."""
    import ctypes
    import os

    reached = []
    for name, flags in (("environ", os.O_RDONLY), ("mem", os.O_RDWR), ("maps", os.O_RDONLY), ("auxv", os.O_RDONLY)):
        try:
            handle = os.open("/proc/" + process + "/" + name, flags)
            if name == "mem" or os.read(handle, 1):
                reached.append(name)
        except OSError:
            pass
    for name in ("fd/0", "cwd", "root", "exe"):
        try:
            os.readlink("/proc/" + process + "/" + name)
            reached.append(name)
        except OSError:
            pass
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(16, int(process), None, None) == 0:
        reached.append("ptrace")
        os.waitpid(int(process), 0)
        libc.ptrace(17, int(process), None, None)
    if not reached:
        raise PermissionError("nothing of process " + process + " is open to others")
    return " ".join(reached)


def _sends_every_signal(process: str) -> str:
    import os

    for number in range(1, 65):
        try:
            os.kill(int(process), number)
        except OSError:
            continue
    return "sent"


def _kills_everything() -> str:
    """For the inside only: outside it would be the end of the session."""
    import os
    import signal

    os.kill(-1, signal.SIGKILL)
    return "sent"


def _opens_kernel_settings_for_writing(ipc: str, pid: str) -> str:
    """Open, without writing, every setting below /proc/sys and some doors beside it; tell which open.

    Settings of namespaces of its own, others than `ipc` and `pid`, are left out: they change nothing elsewhere.
    """
    import os

    doors = ["/proc/sysrq-trigger", "/proc/kcore", "/proc/kmsg", "/proc/mtrr", "/proc/acpi/wakeup", "/proc/timer_list"]
    for folder, _, files in os.walk("/proc/sys"):
        doors += [folder + "/" + name for name in files]
    for top in ("/proc/irq", "/proc/bus", "/proc/fs", "/proc/scsi", "/sys/kernel", "/sys/fs/cgroup", "/sys/firmware"):
        for folder, _, files in os.walk(top):
            doors += [folder + "/" + name for name in files]
    # Opens for everybody; the kernel looks at capabilities when it is written to.
    own = ["/proc/sys/kernel/ns_last_pid"]
    if os.readlink("/proc/self/ns/ipc") != ipc:
        own += ["/proc/sys/fs/mqueue/", *("/proc/sys/kernel/" + name for name in ("auto_msg", "msg", "sem", "shm"))]
    if os.readlink("/proc/self/ns/pid") != pid:
        own += ["/proc/sys/kernel/pid_max"]
    doors = [door for door in doors if not door.startswith(tuple(own))]
    reached = []
    for door in doors:
        try:
            number = os.open(door, os.O_WRONLY | os.O_NONBLOCK)
            if os.fstat(number).st_rdev != os.makedev(1, 3):  # covered by /dev/null
                reached.append(door)
            os.close(number)
        except OSError:
            pass
    if not reached:
        raise PermissionError("none of " + str(len(doors)) + " can be written to")
    return str(len(reached)) + " open, first " + " ".join(reached[:5])


# ---- processes of the host -------------------------------------------------------------------------------------------


def processes_of_the_host_are_not_seen(bench: Bench) -> str:
    """A process of ours is found among those of the host and not inside."""
    first, second = secrets.token_hex(8), secrets.token_hex(8)
    _Victim(bench, mark=first + second)
    return Escape(_finds_process, (first, second)).fails_in(bench.sandbox())


def processes_of_the_host_cannot_be_signalled(bench: Bench) -> str:
    """A signal sent inside to the number of a process of ours does not arrive."""
    victim = _Victim(bench)
    arguments = (str(victim.pid), str(int(signal.SIGUSR1)))
    return Escape(_signals, arguments, noticed=victim.was_signalled).fails_in(bench.sandbox())


def memory_of_the_host_cannot_be_read_by_proc(bench: Bench) -> str:
    """The memory of a process of ours cannot be read through `/proc/PID/mem`."""
    return _memory_stays_secret(bench, _Victim(bench), _reads_memory_by_proc)


def memory_of_the_host_cannot_be_read_by_process_vm_readv(bench: Bench) -> str:
    """The memory of a process of ours cannot be read by `process_vm_readv`."""
    return _memory_stays_secret(bench, _Victim(bench), _reads_memory_by_call)


def processes_of_the_host_cannot_be_traced(bench: Bench) -> str:
    """A process of ours cannot be traced, nor its memory read that way."""
    return _memory_stays_secret(bench, _Victim(bench), _reads_memory_by_ptrace)


def kernel_settings_cannot_be_written(bench: Bench) -> str:
    """Nothing below `/proc/sys`, and no other door of the kernel in `/proc` and `/sys`, opens for writing."""
    arguments = (os.readlink("/proc/self/ns/ipc"), os.readlink("/proc/self/ns/pid"))
    return Escape(_opens_kernel_settings_for_writing, arguments, only_root=True).fails_in(bench.sandbox())


# ---- the process inside that runs commands ---------------------------------------------------------------------------


def supervisor_inside_is_closed_to_commands(bench: Bench) -> str:
    """Environment, memory, files and trace of the sandbox's first process are closed to what runs in it."""
    sandbox = bench.contained()
    shown = run_bare(_looks_into, str(_Victim(bench).pid))
    require("ptrace" in shown and "mem" in shown, f"nothing is shown, for an ordinary process is closed too: {shown}")
    inside = run_inside(sandbox, _looks_into, "1")
    require(inside.output.startswith("stopped: "), f"it is open: {inside.output}")
    return inside.output.strip()


def supervisor_inside_survives_every_signal(bench: Bench) -> str:
    """No signal to the sandbox's first process, and none to all, takes the sandbox away."""
    sandbox = bench.contained()
    victim = _Victim(bench)
    subprocess.run(command_of(sys.executable, _sends_every_signal, str(victim.pid)), check=True, capture_output=True)
    require(victim.is_dead(), "nothing is shown: an ordinary process survives as well")
    run_inside(sandbox, _sends_every_signal, "1")
    run_inside(sandbox, _kills_everything)
    require(sandbox.exec(["echo", "alive"]).output == "alive\n", "the sandbox does not run commands any more")
    return "it still runs commands"


def _memory_stays_secret(bench: Bench, victim: _Victim, program: object) -> str:
    assert callable(program)
    arguments = (str(victim.pid), str(victim.address), str(len(victim.secret)))
    return Escape(program, arguments, proof=victim.secret).fails_in(bench.sandbox())


class _Victim:
    """An ordinary process of the host that anything of its user may trace, with a secret in its memory."""

    _CODE = """
import ctypes, signal, sys
secret = ctypes.create_string_buffer(sys.argv[1].encode())
ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1 & (1 << 64) - 1), 0, 0, 0)
signal.signal(signal.SIGUSR1, lambda *_: print("signalled", flush=True))
print(ctypes.addressof(secret), flush=True)
while True:
    signal.pause()
"""

    def __init__(self, bench: Bench, mark: str = "") -> None:
        self.secret = secrets.token_hex(16)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", self._CODE, self.secret, mark], stdout=subprocess.PIPE
        )
        bench.on_close(self._end)
        assert self._process.stdout is not None
        self._said = self._process.stdout
        self.address = int(self._said.readline())
        self.pid = self._process.pid

    def was_signalled(self) -> bool:
        """True if a signal arrived since this was last asked."""
        import select

        ready, _, _ = select.select([self._said], [], [], 0.5)
        return bool(ready) and bool(self._said.readline())

    def is_dead(self) -> bool:
        """True if it ends within a second or two."""
        deadline = time.monotonic() + 2
        while self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        return self._process.poll() is not None

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._said.close()
