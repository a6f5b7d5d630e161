"""One sandbox ahead of those that are asked for: nobody waits while it is built, unless they ask for many at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

from agentdistill.errors import SandboxError, SandboxUnavailableError
from agentdistill.sandbox.bubble import Bubble

_PATIENCE = 3.0  # seconds for one that is on its way


class Spares:
    """Sandboxes, each started while the one before it is used. Thread-safe.

    Args:
        make: makes one, in any thread.
    """

    def __init__(self, make: Callable[[], Bubble]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._next: Future[Bubble] | None = None
        self._closed = False

    def take(self) -> Bubble:
        """The one that is ready, or a new one. It is the caller's from now on.

        Raises:
            SandboxError: none can be made.
        """
        with self._lock:
            if self._closed:
                raise SandboxError("the sandbox backend is closed")
            ready, self._next = self._next, None
        bubble = self._made(ready) if ready is not None else None
        if bubble is None:
            try:
                bubble = self._make()
            except SandboxUnavailableError:
                raise
            except SandboxError:  # of a thousand starts on a busy machine, one may lose a process on its way
                bubble = self._make()
        self._make_next()
        return bubble

    def close(self) -> None:
        """Close the one that nobody took. May be called twice."""
        with self._lock:
            self._closed = True
            left, self._next = self._next, None
        if left is not None:
            with suppress(Exception):  # nobody asked for it
                left.result(_PATIENCE).close()

    def _made(self, ready: Future[Bubble]) -> Bubble | None:
        try:
            bubble = ready.result(_PATIENCE)
        except TimeoutError:
            # A process that our program forked meanwhile may hold what `subprocess` waits for, as long as it lives.
            ready.add_done_callback(_close)
            return None
        except Exception:  # noqa: BLE001 - who asks now may have better luck, and is told if not
            return None
        except BaseException:  # a Ctrl-C while it is made
            ready.add_done_callback(_close)
            raise
        if bubble.lives:
            return bubble
        bubble.close()
        return None

    def _make_next(self) -> None:
        following: Future[Bubble] = Future()
        with self._lock:
            if self._closed or self._next is not None:
                return
            self._next = following
        try:
            threading.Thread(target=self._fulfil, args=(following,), name="sandbox-spare", daemon=True).start()
        except RuntimeError as error:  # no more threads: without one ahead, then
            following.set_exception(error)

    def _fulfil(self, future: Future[Bubble]) -> None:
        try:
            future.set_result(self._make())
        except BaseException as error:  # noqa: BLE001 - told to who takes it
            future.set_exception(error)


def _close(made: Future[Bubble]) -> None:
    if made.exception() is None:
        made.result().close()
