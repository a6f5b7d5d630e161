"""One sandbox of bubblewrap's: the agent, what is built around it, and what has to be given back."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import time
from contextlib import suppress
from typing import IO

from agentdistill.errors import SandboxError
from agentdistill.sandbox.base import Exceeded
from agentdistill.sandbox.cgroups import Group, Met
from agentdistill.sandbox.confinement import Confinement
from agentdistill.sandbox.forkserver import Forked, ForkServer
from agentdistill.sandbox.hardening import Hardening
from agentdistill.sandbox.uids import Uid

_START = 30.0
_GRACE = 5.0
_CHUNK = 1 << 18


class Bubble:
    """An agent in what bubblewrap built around it, and the line to it; see `Connection`.

    It is the first process of its PID namespace, and in its control group, before the rest is built. bwrap makes the
    other namespaces, with a program in them that does nothing but say that they are ready; both end when the agent has
    stepped in.

    Args:
        confinement: what to build.
        hardening: where its user and its control group come from.
        server: what forks it.

    Raises:
        SandboxError: it cannot be started; the message has what was said about it.
    """

    def __init__(self, confinement: Confinement, hardening: Hardening, server: ForkServer) -> None:
        self.confinement = confinement
        self._hardening = hardening
        self._user: Uid | None = None
        self._group: Group | None = None
        self._met = Met()
        self._forked: Forked | None = None
        try:
            self._socket, theirs = socket.socketpair()
        except OSError as error:
            raise SandboxError(f"cannot start a sandbox: {error}") from error
        try:
            errors, errors_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            self._socket.close()
            theirs.close()
            raise SandboxError(f"cannot start a sandbox: {error}") from error
        try:
            with theirs:
                if hardening.users is not None:
                    self._user = hardening.users.take()
                self._group = hardening.group()
                self._met = self._group.met()
                namespace = None if self._user is None else self._user.namespace
                self._forked = server.fork(theirs.fileno(), errors_end, namespace)
            self._build(self._forked, errors_end)
            self._forked.release()
        except BaseException as error:
            self.close()
            if isinstance(error, SandboxError | OSError):
                said = _last_line(errors) if isinstance(error, SandboxError) else ""
                raise SandboxError(f"cannot start a sandbox: {said or error}") from error
            raise
        finally:
            os.close(errors)
            os.close(errors_end)

    @property
    def lives(self) -> bool:
        """Whether the agent does."""
        return self._forked is not None and not self._forked.wait(0)

    def send(self, data: bytes | bytearray, deadline: float) -> None:
        """See `Connection.send`."""
        self._socket.settimeout(_left(deadline))
        self._socket.sendall(data)

    def receive(self, size: int, deadline: float) -> bytes:
        """See `Connection.receive`."""
        self._socket.settimeout(_left(deadline))
        return self._socket.recv(min(size, _CHUNK))

    def exceeded(self) -> Exceeded:
        """See `Connection.exceeded`."""
        if self._group is None:
            return ""
        before, self._met = self._met, self._group.met()
        if self._met.killed_for_memory > before.killed_for_memory:
            return "memory"
        return "processes" if self._met.forks_refused > before.forks_refused else ""

    def last_words(self) -> str:
        """See `Connection.last_words`. It has none: what can go wrong is known before it is asked anything."""
        return ""

    def interrupt(self) -> None:
        """See `Connection.interrupt`."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """See `Connection.close`. May be called twice."""
        self.interrupt()
        self._socket.close()
        if self._forked is not None:
            forked, self._forked = self._forked, None
            forked.release()
            if not forked.wait(_GRACE):
                forked.kill()
                forked.wait(_GRACE)
            forked.close()
        if self._group is not None:
            group, self._group = self._group, None
            self._hardening.give_back(group)
        if self._user is not None and self._hardening.users is not None:
            user, self._user = self._user, None
            self._hardening.users.give_back(user)

    def _build(self, forked: Forked, errors: int) -> None:
        info, info_end = os.pipe()
        with open(info, "rb") as told:
            try:
                builder = subprocess.Popen(
                    self.confinement.line(forked.pids, forked.users, info_end),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    bufsize=0,
                    pass_fds=[info_end, forked.pids, forked.users],
                    cwd="/",
                    env={},  # bwrap's own could be read inside
                    process_group=0,  # Ctrl-C at the terminal is for us alone
                )
            finally:
                os.close(info_end)
            # On every way out: without its input, what was built ends, and bwrap with it.
            with builder:
                try:
                    # Meanwhile; it takes the kernel as long.
                    if self._group is not None:
                        self._group.admit(forked.number)
                    self._step_in(forked, builder, told)
                except BaseException:
                    forked.kill()  # and with it whatever is in its PID namespace
                    builder.kill()
                    raise

    def _step_in(self, forked: Forked, builder: subprocess.Popen[bytes], told: IO[bytes]) -> None:
        assert builder.stdin is not None
        assert builder.stdout is not None
        with suppress(BrokenPipeError):
            builder.stdin.write(b"x")
        ready = select.poll()  # not select(), which knows the first 1,024 descriptors only
        ready.register(builder.stdout, select.POLLIN)
        if not ready.poll(_START * 1000):
            raise SandboxError("bwrap does not come to an end")
        if not builder.stdout.read(1):
            raise SandboxError(f"bwrap ended with {builder.wait(_START)}")
        about = b""
        while b"}" not in about and (more := os.read(told.fileno(), _CHUNK)):  # a fork of this process may have its end
            about += more
        forked.step_in(json.loads(about)["child-pid"])


def _last_line(errors: int) -> str:
    """The last line in a pipe whose writers are dead."""
    try:
        said = os.read(errors, _CHUNK).decode(errors="replace").strip()
    except BlockingIOError:
        return ""
    return said.splitlines()[-1] if said else ""


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
