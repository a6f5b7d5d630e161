"""The host's end of the process that forks agents; see `inside.forking`.

An interpreter takes three times as long to start as bwrap, and processor time at that.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from agentdistill.errors import SandboxError

_PATIENCE = 30.0  # seconds for what takes a millisecond on a machine that is not busy
_CHUNK = 1 << 16
_starter_lock = threading.Lock()
_starters: dict[int, ThreadPoolExecutor] = {}


class Forked:
    """An agent that is forked, and waits for the namespaces it is to live in.

    Args:
        number: of the agent, in our own PID namespace; nobody else has it before `release`, nor while it lives.
        companion: descriptor of the process beside it, which ends when the agent and everything it started is gone.
        pids: descriptor of the PID namespace it is the first process of.
        users: descriptor of the user namespace that one belongs to.
        control: the line to both.
    """

    def __init__(self, number: int, companion: int, pids: int, users: int, *, control: socket.socket) -> None:
        self.number, self.pids, self.users = number, pids, users
        self._companion, self._control = companion, control

    def step_in(self, process: int) -> None:
        """Have the agent live in the namespaces of a process, but for those of users and PIDs.

        Args:
            process: its number in our own PID namespace.

        Raises:
            OSError: it is dead.
            SandboxError: the agent cannot, and is dead.
        """
        built = os.pidfd_open(process)
        try:
            socket.send_fds(self._control, [b"x"], [built])
            if not self._control.recv(1):
                raise SandboxError("the agent cannot enter what was built")
        finally:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(built, signal.SIGKILL)
            os.close(built)

    def release(self) -> None:
        """Free what only the start needs. May be called twice."""
        if self._control.fileno() >= 0:
            with suppress(OSError):  # also where a fork of this process has it
                self._control.shutdown(socket.SHUT_RDWR)
            self._control.close()
            os.close(self.pids)
            os.close(self.users)

    def kill(self) -> None:
        """Kill the agent, and with it all that it started."""
        if not self.wait(0):
            with suppress(ProcessLookupError):
                os.kill(self.number, signal.SIGKILL)

    def wait(self, seconds: float) -> bool:
        """Whether everything is gone after `seconds` at most. To be called after `release`, or it waits in vain."""
        waiting = select.poll()
        waiting.register(self._companion, select.POLLIN)
        return bool(waiting.poll(seconds * 1000))

    def close(self) -> None:
        """Free the rest. Called once."""
        self.release()
        os.close(self._companion)


class ForkServer:
    """Forks agents. Thread-safe; a server that has died is started again.

    Args:
        python: the interpreter on the host.
        folder: holds the package `inside`.
    """

    def __init__(self, python: str, folder: Path) -> None:
        start = f"import sys; sys.path.insert(0, {str(folder)!r}); from inside.forking import serve; serve()"
        self._line = [python, "-I", "-S", "-B", "-c", start]
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None

    def fork(self, connection: int, errors: int, users: int | None) -> Forked:
        """An agent in a PID namespace of its own.

        Args:
            connection: descriptor of what it reads its requests from and answers on.
            errors: descriptor of a pipe in which it says what goes wrong.
            users: descriptor of the user namespace to be root of; without it, of one for who runs us.

        Raises:
            SandboxError: there is none; why is in `errors`, or it is the machine that does not let us.
        """
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                descriptors = [connection, errors, theirs.fileno(), *([] if users is None else [users])]
                self._ask(descriptors)
            control.settimeout(_PATIENCE)
            number, made, _, _ = socket.recv_fds(control, _CHUNK, 3)
            if len(made) != 3:
                for each in made:
                    os.close(each)
                raise SandboxError("no agent was forked")
            return Forked(int(number), *made, control=control)
        except OSError as error:
            control.close()
            raise SandboxError(f"cannot fork an agent: {error}") from error
        except BaseException:
            control.close()
            raise

    def close(self) -> None:
        """End the server and all that it forked. May be called twice."""
        with self._lock:
            self._end()

    def _ask(self, descriptors: list[int]) -> None:
        with self._lock:
            for last in (False, True):
                if self._requests is None:
                    self._start()
                    assert self._requests is not None
                try:
                    socket.send_fds(self._requests, [b"x"], descriptors)
                    return
                except ConnectionError:  # it is dead
                    self._end()
                    if last:
                        raise

    def _start(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = _started(self._line, theirs.fileno())

    def _end(self) -> None:
        if self._requests is not None:
            self._requests.close()
            self._requests = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _started(line: list[str], requests: int) -> subprocess.Popen[bytes]:
    """Start the server from a thread that lives as long as this process.

    The kernel takes its parent to be the thread that started it: in another one's care, all sandboxes would die with a
    thread that is done with its work.
    """

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            line,
            stdin=requests,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={},  # nothing of ours is in an agent's memory
            process_group=0,  # Ctrl-C at the terminal is for us alone
        )

    with _starter_lock:
        starter = _starters.get(os.getpid())
        if starter is None:  # also in a process forked from ours, where threads are gone
            starter = ThreadPoolExecutor(1, "sandbox-starter")
            _starters.clear()
            _starters[os.getpid()] = starter
    return starter.submit(start).result()
