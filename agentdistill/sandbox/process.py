"""One confined command, from start to the last process it left: limits, bounded output, no hang, no survivor.

bwrap tells us the host pid of the first process of the sandbox and holds the command back until we say so. In
between we set its resource limits from outside (every process of the sandbox inherits them), which costs
microseconds and needs neither a `preexec_fn` nor a shell. A pidfd on that first process becomes readable when
the *last* process of its PID namespace is dead: only then is the command over, so nothing writes afterwards.
"""

from __future__ import annotations

import errno
import json
import math
import os
import resource
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from io import FileIO

from agentdistill.errors import SandboxError
from agentdistill.sandbox.base import Limits

TIMED_OUT = 124
NOT_EXECUTABLE = 126
NOT_FOUND = 127
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Ended:
    """How a confined command ended. `started` is false if it was never executed: `output` says why."""

    exit_code: int
    output: bytes
    started: bool
    timed_out: bool = False
    truncated: bool = False
    seconds: float = 0.0


class Output:
    """Head and tail of a stream in bounded memory, with a mark where the middle was cut out."""

    def __init__(self, limit: int) -> None:
        self._head_limit = limit // 2
        self._tail_limit = limit - self._head_limit
        self._head = bytearray()
        self._tail = bytearray()
        self._cut = 0

    @property
    def truncated(self) -> bool:
        """True if something was cut out."""
        return self._cut > 0

    def add(self, chunk: bytes) -> None:
        """Take the next piece of the stream."""
        room = self._head_limit - len(self._head)
        if room > 0:
            self._head += chunk[:room]
            chunk = chunk[room:]
        self._tail += chunk
        # Trimmed only now and then: moving the tail for every small write would be quadratic.
        if len(self._tail) > self._tail_limit + 4 * _CHUNK:
            self._trim()

    def content(self) -> bytes:
        """What is kept, with the mark."""
        self._trim()
        mark = f"\n[... {self._cut} bytes cut ...]\n".encode() if self._cut else b""
        return bytes(self._head) + mark + bytes(self._tail)

    def _trim(self) -> None:
        excess = len(self._tail) - self._tail_limit
        if excess > 0:
            del self._tail[:excess]
            self._cut += excess


def run(
    confinement: Sequence[str], argv: Sequence[str | bytes], limits: Limits, *, seconds: float, keep: Sequence[int] = ()
) -> Ended:
    """Run `argv` under the bwrap command line `confinement` (without its ``--``).

    Args:
        confinement: bwrap and its options.
        argv: the command and its arguments.
        limits: what it may use.
        seconds: wall-clock time, from now on.
        keep: file descriptors it inherits.

    Raises:
        SandboxError: the machine would not start a process.
    """
    started = time.monotonic()
    output = Output(limits.output_bytes)
    with ExitStack() as stack:
        out, out_end = _pipe(stack)
        status, status_end = _pipe(stack)
        gate_end, gate = _pipe(stack)
        process = _start(
            [*confinement, "--json-status-fd", str(status_end.fileno()), "--block-fd", str(gate_end.fileno())],
            argv,
            out_end.fileno(),
            (status_end.fileno(), gate_end.fileno(), *keep),
        )
        if isinstance(process, Ended):
            return process
        timed_out = False
        try:
            for end in (out_end, status_end, gate_end):
                end.close()
            if report := _first_line(status):
                with suppress(ProcessLookupError, BrokenPipeError):  # it died on its way: the exit code tells
                    timed_out = _attend(json.loads(report)["child-pid"], gate, out, output, limits, started + seconds)
            exit_code = process.wait()
        except BaseException:
            # Interrupted: bwrap takes everything it started with it.
            process.kill()
            process.wait()
            raise
        # Every writer is dead now, so both pipes end.
        while chunk := out.read(_CHUNK):
            output.add(chunk)
        executed = timed_out or b"exit-code" in status.read()
    return Ended(
        exit_code=TIMED_OUT if timed_out else exit_code,
        output=output.content(),
        started=executed,
        timed_out=timed_out,
        truncated=output.truncated,
        seconds=time.monotonic() - started,
    )


def _start(
    confinement: Sequence[str], argv: Sequence[str | bytes], out: int, keep: Sequence[int]
) -> subprocess.Popen[bytes] | Ended:
    try:
        return subprocess.Popen(
            [*confinement, "--", *argv],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            pass_fds=keep,
            cwd="/",
            # bwrap's own environment can be read inside, in /proc/1/environ.
            env={},
            umask=0o022,
        )
    except ValueError:
        return Ended(NOT_EXECUTABLE, b"the command holds a NUL byte", started=True)
    except OSError as error:
        if error.errno == errno.E2BIG:
            return Ended(NOT_EXECUTABLE, b"the command is too long", started=True)
        raise SandboxError(f"cannot start a sandboxed command: {error}") from error


def _attend(pid: int, gate: FileIO, out: FileIO, output: Output, limits: Limits, deadline: float) -> bool:
    """Let the command run and read what it writes until its last process is dead; true if its time ran out."""
    first = os.pidfd_open(pid)
    try:
        _limit(pid, limits, deadline - time.monotonic())
        gate.write(b"\n")
        waiting = select.poll()
        waiting.register(out.fileno(), select.POLLIN)
        waiting.register(first, select.POLLIN)
        timed_out = False
        while True:
            left = deadline - time.monotonic()
            if left <= 0 and not timed_out:
                timed_out = True
                signal.pidfd_send_signal(first, signal.SIGKILL)
            ready = dict(waiting.poll(None if timed_out else math.ceil(left * 1000)))
            if first in ready:
                return timed_out
            if out.fileno() in ready:
                chunk = out.read(_CHUNK)
                if chunk:
                    output.add(chunk)
                else:
                    waiting.unregister(out.fileno())
    finally:
        os.close(first)


def _limit(pid: int, limits: Limits, seconds: float) -> None:
    for kind, value in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_CPU, max(1, math.ceil(seconds)) + 1),
        (resource.RLIMIT_CORE, 0),
    ):
        # A harness that is itself limited may not raise its hard limit again.
        hard = resource.prlimit(pid, kind)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.prlimit(pid, kind, (bound, bound))


def _pipe(stack: ExitStack) -> tuple[FileIO, FileIO]:
    """Both ends of a pipe. As files, because closing one twice is harmless; a bare number may be reused by then."""
    reading, writing = os.pipe()
    return stack.enter_context(FileIO(reading, "rb")), stack.enter_context(FileIO(writing, "wb"))


def _first_line(status: FileIO) -> bytes:
    """bwrap's first report, which it writes in pieces; empty if it failed before."""
    line = b""
    while not line.endswith(b"\n"):
        piece = status.read(4096)
        if not piece:
            return b""
        line += piece
    return line.split(b"\n")[0]
