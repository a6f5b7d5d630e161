"""The pair of pipes to the program inside a container: one socket, taken over from the engine's HTTP connection.

What we send arrives at the program's stdin as it is. What comes back is in frames of the engine: one byte says which
stream (1 stdout, 2 stderr), three are empty, four are the length, big-endian. The container was made to end its stdin
with this connection: so the program inside ends, however we do.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from agentdistill.sandbox.base import Exceeded

_FRAME = 8
_STDOUT = 1
_READ = 1 << 18
_SAID = 2000


class Attached:
    """A connection to the agent in a container; see `agentdistill.sandbox.guest.Connection`.

    Args:
        taken: what the SDK returns for an attached socket.
        remove: kills the container and returns when it is gone.
    """

    def __init__(self, taken: Any, remove: Callable[[], None]) -> None:
        self._remove = remove
        self._sdk: Any = None
        if isinstance(taken, socket.socket):
            self._socket, self._sdk = taken, getattr(taken, "_response", None)
        else:
            # Of an unencrypted connection the SDK hands out a reader that knows no deadlines; the socket below does.
            self._socket = socket.socket(fileno=socket.dup(taken.fileno()))
            _close(taken, getattr(taken, "_response", None))
        self._frame = 0
        self._stream = _STDOUT
        self._raw = bytearray()
        self._said = bytearray()
        self._closed = False

    def send(self, data: bytes | bytearray, deadline: float) -> None:
        """See `Connection.send`."""
        self._until(deadline)
        self._socket.sendall(data)

    def receive(self, size: int, deadline: float) -> bytes:
        """See `Connection.receive`."""
        while size:
            while not self._frame:
                if not self._fill(_FRAME, deadline):
                    return b""
                self._stream = self._raw[0]
                self._frame = int.from_bytes(self._raw[4:_FRAME], "big")
                del self._raw[:_FRAME]
            if not self._fill(1, deadline):
                return b""
            if self._stream == _STDOUT:
                return self._take(size)
            self._said += self._take(_READ)
            del self._said[:-_SAID]
        return b""

    def exceeded(self) -> Exceeded:
        """See `Connection.exceeded`. The agent sees the counters of its container itself."""
        return ""

    def last_words(self) -> str:
        """See `Connection.last_words`: the last line that the agent, or what started it, wrote to stderr."""
        # What it said last may not have been read yet.
        deadline = time.monotonic() + 0.2
        with suppress(OSError):
            while self.receive(_READ, deadline):
                pass
        lines = self._said.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def interrupt(self) -> None:
        """See `Connection.interrupt`. It also ends the agent, whose stdin ends with the connection."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """See `Connection.close`."""
        if not self._closed:
            self._closed = True
            _close(self._socket, self._sdk)
            self._remove()

    def _take(self, size: int) -> bytes:
        with memoryview(self._raw) as view:
            taken = bytes(view[: min(size, self._frame)])
        del self._raw[: len(taken)]
        self._frame -= len(taken)
        return taken

    def _fill(self, size: int, deadline: float) -> bool:
        """Whether `size` bytes of the connection are here now; if not, it has ended."""
        while len(self._raw) < size:
            self._until(deadline)
            more = self._socket.recv(_READ)
            if not more:
                return False
            self._raw += more
        return True

    def _until(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the other end does not answer in time")
        self._socket.settimeout(left)


def _close(opened: Any, response: Any) -> None:
    """Close what the SDK opened, at once: left to itself it would stay open until some collection of garbage."""
    if response is not None:
        response.close()
    opened.close()
