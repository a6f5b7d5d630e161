"""The host's end of the line to an agent inside a sandbox: requests, replies, deadlines.

What the agent says is trusted in form only: heads and bodies are bounded, and whatever is not a reply makes the
sandbox a lost one. A request that does not end in time, or is interrupted, does the same, since nobody could tell
what the next reply would belong to.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from agentdistill.errors import SandboxError, SandboxLostError
from agentdistill.sandbox.base import Exceeded
from agentdistill.sandbox.inside import wire

PATIENCE = 120.0
"""Seconds an agent may take beyond what its request says: a machine may be busy, and a sandbox full of small files."""
_LONGEST_DETAIL = 2000


def agent_line(python: str, folder: str) -> list[str]:
    """The command line that runs an agent; the program reads its input and writes its output.

    Args:
        python: path of the interpreter, where the agent runs.
        folder: path of a folder there that holds the package `inside`.
    """
    start = f"import sys; sys.path.insert(0, {folder!r}); from inside.__main__ import main; main()"
    return [python, "-I", "-S", "-B", "-c", start]


class Connection(Protocol):
    """A started agent, as a backend holds it: its line, and the power to end it with all that it runs."""

    def send(self, data: bytes | bytearray, deadline: float) -> None:
        """Send all of `data`.

        Raises:
            OSError: it is gone, or `deadline` (of `time.monotonic`) has passed.
        """
        ...

    def receive(self, size: int, deadline: float) -> bytes:
        """Up to `size` bytes; none if the agent has hung up.

        Raises:
            OSError: as for `send`.
        """
        ...

    def exceeded(self) -> Exceeded:
        """Which limit of the whole sandbox was met since the last call, as far as the host can tell."""
        ...

    def last_words(self) -> str:
        """What is known of how it ended, in one line, for the operator; it is gone by now, or soon will be."""
        ...

    def interrupt(self) -> None:
        """Hang up, and wake whoever waits in `send` or `receive`. Called from any thread; the agent ends by itself."""
        ...

    def close(self) -> None:
        """End the agent and everything in its sandbox, wait until all of it is gone, and free what the host held."""
        ...


class Guest:
    """One agent that can be asked; one caller at a time, but `close` may come from any thread.

    Args:
        connection: the agent, started; it is closed with the guest.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._lost = ""
        self._closed = False

    def ask(
        self,
        request: Mapping[str, Any],
        body: Iterable[bytes] = (),
        size: int = 0,
        *,
        largest: int = 0,
        seconds: float = 0.0,
    ) -> tuple[dict[str, Any], bytes]:
        """Send a request and return head and body of the reply.

        Args:
            request: its head.
            body: its body, in parts.
            size: bytes of the body.
            largest: bytes that the body of the reply may have.
            seconds: how long the request itself may take.

        Raises:
            FileNotFoundError, PermissionError: the agent says so, with its words.
            SandboxError: the agent could not do it.
            SandboxLostError: the agent does not answer, or not as agents do.
        """
        deadline = time.monotonic() + seconds + PATIENCE
        with self._lock:
            if self._closed or self._lost:
                raise SandboxLostError(self._lost or "the sandbox is closed")
            try:
                head = wire.dumps(dict(request))
                waiting = bytearray(wire.header(head, size) + head)
                for part in body:
                    if len(waiting) + len(part) > wire.CHUNK:
                        self._connection.send(waiting, deadline)
                        waiting = bytearray()
                    waiting += part
                self._connection.send(waiting, deadline)
                reply, content = self._receive(largest, deadline)
            except (OSError, ValueError, wire.Gone) as error:
                raise self._lose(error) from error
            except BaseException as error:
                self._lose(error)
                raise
        if "error" in reply:
            raise _error(reply)
        return reply, content

    def exceeded(self) -> Exceeded:
        """See `Connection.exceeded`."""
        return self._connection.exceeded()

    def hang_up(self) -> None:
        """Have the agent end, without waiting for it; whoever waits for it is told that the sandbox is lost."""
        self._closed = True
        self._connection.interrupt()

    def close(self) -> None:
        """End the agent; whoever waits for it is told that the sandbox is lost. May be called twice."""
        self.hang_up()
        with self._lock:
            self._connection.close()

    def _receive(self, largest: int, deadline: float) -> tuple[dict[str, Any], bytes]:
        def receive(size: int) -> bytes:
            return self._connection.receive(size, deadline)

        head, body = wire.lengths(wire.read_exactly(receive, wire.HEADER))
        if head > wire.LONGEST_HEAD or body > largest:
            raise ValueError(f"a reply of {head} + {body} bytes")
        reply = wire.loads(wire.read_exactly(receive, head))
        if not isinstance(reply, dict):
            raise ValueError("a reply that is no dict")
        return reply, wire.read_exactly(receive, body)

    def _lose(self, error: BaseException) -> SandboxLostError:
        if self._closed:
            return SandboxLostError("the sandbox is closed")
        said = self._connection.last_words()
        self._connection.close()
        why = str(error)
        if isinstance(error, TimeoutError):
            why = "its agent does not answer"
        elif isinstance(error, wire.Gone | ConnectionError):
            why = "its agent ended"
        self._lost = f"the sandbox is gone: {why}{f' ({said})' if said else ''}"
        return SandboxLostError(self._lost)


def _error(reply: Mapping[str, Any]) -> Exception:
    detail = str(reply.get("detail"))[:_LONGEST_DETAIL]
    if reply["error"] == "missing":
        return FileNotFoundError(detail)
    if reply["error"] == "refused":
        return PermissionError(detail)
    return SandboxError(f"inside the sandbox: {detail}")
