"""One sandbox ahead of those that are asked for: nobody waits while it is built, unless they ask for many at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

from agentdistill.errors import SandboxError
from agentdistill.sandbox.bubble import Bubble


class Spares:
    """Sandboxes, each started while the one before it is used. Thread-safe.

    Args:
        make: makes one, in any thread.
    """

    def __init__(self, make: Callable[[], Bubble]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._next: Future[Bubble] | None = None
        self._owner = os.getpid()
        self._closed = False

    def take(self) -> Bubble:
        """The one that is ready, or a new one. It is the caller's from now on.

        Raises:
            SandboxError: none can be made.
        """
        if os.getpid() != self._owner:  # forked from it: the next one is its, and who makes it is not here
            return self._make()
        following: Future[Bubble] = Future()
        with self._lock:
            if self._closed:
                raise SandboxError("the sandbox backend is closed")
            ready, self._next = self._next, following
        threading.Thread(target=self._fulfil, args=(following,), name="sandbox-spare", daemon=True).start()
        if ready is not None:
            with suppress(SandboxError):  # there may be room for one by now
                bubble = ready.result()
                if bubble.lives:
                    return bubble
                bubble.close()
        return self._make()

    def close(self) -> None:
        """Close the one that nobody took. May be called twice."""
        with self._lock:
            self._closed = True
            left, self._next = self._next, None
        if left is not None and os.getpid() == self._owner:
            with suppress(Exception):  # nobody asked for it
                left.result().close()

    def _fulfil(self, future: Future[Bubble]) -> None:
        try:
            future.set_result(self._make())
        except BaseException as error:  # noqa: BLE001 - told to who takes it
            future.set_exception(error)
