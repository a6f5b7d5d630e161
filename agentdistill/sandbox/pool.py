"""Warm sandboxes: started before anybody needs them, so that nobody waits for the start.

A `Pool` is a backend around another one. From the first one that is asked for on, it starts the next ones in threads of
its own and hands out what is ready; when nothing is, it starts one at once, as the backend itself would. A sandbox that
died while it waited is never handed out.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from agentdistill.errors import SandboxError
from agentdistill.sandbox.base import Capabilities, Sandbox, SandboxBackend, SnapshotId
from agentdistill.sandbox.worlds import World, world_of


class Pool:
    """A backend that keeps sandboxes of another one ready; see `SandboxBackend`.

    Args:
        backend: makes them. It belongs to the pool from now on, and is closed with it.
        size: how many to keep ready.
        starters: how many may be on their way at once.
    """

    def __init__(self, backend: SandboxBackend, size: int, *, starters: int = 2) -> None:
        if size < 1 or starters < 1:
            raise ValueError("a pool has at least one sandbox and one starter")
        self._backend = backend
        self._size = size
        self._ready: deque[Sandbox] = deque()
        self._starting = 0
        self._rests = True
        self._closed = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._keep_ready, name=f"sandbox-starter-{number}", daemon=True)
            for number in range(min(starters, size))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def capabilities(self) -> Capabilities:
        """See `SandboxBackend.capabilities`."""
        return self._backend.capabilities

    @property
    def ready(self) -> int:
        """How many sandboxes are ready now."""
        with self._changed:
            return len(self._ready)

    def fill(self, timeout: float | None = None) -> bool:
        """Wait until all are ready; false if they are not within `timeout` seconds, or cannot be started now."""
        with self._changed:
            self._rests = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(self._ready) >= self._size or self._rests or self._closed, timeout)
            return len(self._ready) >= self._size

    def create(self, snapshot: SnapshotId | None = None) -> Sandbox:
        """See `SandboxBackend.create`: a ready one, or a new one if none is."""
        while (sandbox := self._take()) is not None:
            try:
                sandbox.processes()  # answers at once, if anybody is there
            except SandboxError:
                sandbox.close()
                continue
            if snapshot is not None:
                try:
                    sandbox.restore(snapshot)
                except BaseException:
                    sandbox.close()
                    raise
            return sandbox
        return self._backend.create(snapshot)

    def world(self, world: World) -> SandboxBackend:
        """See `WorldBackend.world`. Of other worlds none is kept ready."""
        made = world_of(self._backend, world)
        return self if made is self._backend else made

    def drop(self, snapshots: Sequence[SnapshotId]) -> None:
        """See `SandboxBackend.drop`."""
        self._backend.drop(snapshots)

    def release(self, owner: str) -> None:
        """See `SandboxBackend.release`."""
        self._backend.release(owner)

    def close(self) -> None:
        """See `SandboxBackend.close`. Waits for what is being started."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        while self._ready:
            self._ready.pop().close()
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self) -> Sandbox | None:
        with self._changed:
            if self._closed:
                raise SandboxError("the sandbox pool is closed")
            self._rests = False
            self._changed.notify_all()
            # The oldest first: all of them get their turn.
            return self._ready.popleft() if self._ready else None

    def _keep_ready(self) -> None:
        """What each starter does."""
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._closed or (not self._rests and len(self._ready) + self._starting < self._size)
                )
                if self._closed:
                    return
                self._starting += 1
            sandbox = None
            with suppress(Exception):  # who asks for a sandbox next meets the same, and is told
                sandbox = self._backend.create()
            with self._changed:
                self._starting -= 1
                if sandbox is None:
                    self._rests = True
                else:
                    self._ready.append(sandbox)
                self._changed.notify_all()
