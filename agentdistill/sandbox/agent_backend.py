"""What backends have in common whose sandboxes are served by an agent: everything but how an agent is started."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from agentdistill.errors import SandboxError
from agentdistill.sandbox.agent_sandbox import AgentSandbox, LiveProcessPolicy, Started
from agentdistill.sandbox.base import Capabilities, Limits, SnapshotId
from agentdistill.sandbox.homes import Home, settle, temporary
from agentdistill.sandbox.snapshots import SnapshotStore
from agentdistill.sandbox.worlds import World

_MOST_WORLDS = 64
"""Backends of other worlds that are kept when no sandbox of theirs is open."""


class AgentBackend(ABC):
    """See `SandboxBackend`. A subclass says how an agent is started, and what it is confined to.

    Args:
        folder: where snapshots are kept; without it, in a temporary place until `close`.
        limits: what a sandbox and each command in it may use.
        processes: what becomes of processes that a command leaves, and of worlds that are restored without them.
        snapshot_bytes: how large the file with the snapshots may become; see `SnapshotStore`.
    """

    def __init__(
        self,
        folder: Path | None,
        limits: Limits | None,
        processes: LiveProcessPolicy,
        snapshot_bytes: int | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self._folder = folder
        self._processes = processes
        self._snapshot_bytes = snapshot_bytes
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._sandboxes: set[AgentSandbox] = set()
        self._home: Home | None = None
        self._store: SnapshotStore | None = None
        self._ready = False
        self._closed = False
        self._above: AgentBackend | None = None
        self._worlds: dict[str, AgentBackend] = {}
        self._seeds: set[SnapshotId] = set()
        """What fresh sandboxes begin with, of all worlds: never dropped."""

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """See `SandboxBackend.capabilities`."""

    @abstractmethod
    def prepare(self, home: Path) -> None:
        """Get ready to start agents; called once, before the first `start`, unless it raises.

        Args:
            home: a folder of our own, removed at `close`, or by a later backend if this process is killed.

        Raises:
            SandboxUnavailableError: this machine cannot isolate; the message says what to do about it.
        """

    @abstractmethod
    def start(self) -> Started:
        """Start an agent in a sandbox of its own. Called from several threads at once."""

    @property
    def has_image(self) -> bool:
        """Whether its sandboxes need no image but what it has."""
        return True

    @abstractmethod
    def in_world(self, world: World) -> AgentBackend:
        """A backend like this one, but for sandboxes of `world`; it keeps no snapshots of its own.

        Raises:
            UsageError: there are no such sandboxes; says in one line which backend has them.
        """

    def stop(self) -> None:  # noqa: B027 - most have nothing to free
        """Free what `prepare` took; every sandbox is closed by now. Called once, also if `prepare` never was."""

    def create(self, snapshot: SnapshotId | None = None) -> AgentSandbox:
        """See `SandboxBackend.create`. The first call tries out whether this machine can isolate."""
        store, home = self._open()
        if snapshot is not None:
            store.check(snapshot)
        with self._lock:
            if not self._ready:
                self.prepare(home)
                self._ready = True
        sandbox = AgentSandbox(self.start(), self.limits, self._processes, store, self._forget)
        try:
            with self._lock:
                if self._closed:
                    raise SandboxError("the sandbox backend is closed")
                self._sandboxes.add(sandbox)
            if snapshot is not None:
                sandbox.restore(snapshot)
        except BaseException:
            sandbox.close()
            raise
        return sandbox

    def world(self, world: World) -> AgentBackend:
        """See `WorldBackend.world`."""
        if self._above is not None:
            return self._above.world(world)
        if world.is_plain(self.has_image):
            return self
        idle: list[AgentBackend] = []
        with self._lock:
            if self._closed:
                raise SandboxError("the sandbox backend is closed")
            made = self._worlds.pop(world.key, None)
            if made is None:
                made = self.in_world(world)
                made._above, made._seeds = self, self._seeds
                unused = [key for key, each in self._worlds.items() if not each._sandboxes]
                idle = [self._worlds.pop(key) for key in unused[: max(0, len(self._worlds) + 1 - _MOST_WORLDS)]]
            self._worlds[world.key] = made  # those that were asked for last come last
        for each in idle:
            each.close()
        return made

    def drop(self, snapshots: Sequence[SnapshotId]) -> None:
        """See `SandboxBackend.drop`."""
        # A world that is still as it began goes by the same name as what fresh sandboxes begin with.
        self._open()[0].drop([each for each in snapshots if each not in self._seeds])

    def release(self, owner: str) -> None:
        """See `SandboxBackend.release`."""
        self._open()[0].release(owner)

    def close(self) -> None:
        """See `SandboxBackend.close`. Snapshots stay if a folder was given. In a fork it leaves all to who made it."""
        if os.getpid() != self._process:
            return
        with self._lock:
            if self._closed:
                return
            self._closed = True
            sandboxes, worlds = list(self._sandboxes), list(self._worlds.values())
        try:
            for each in worlds:
                each.close()
            for sandbox in sandboxes:  # all of them end at the same time
                sandbox.hang_up()
            for sandbox in sandboxes:
                sandbox.close()
        finally:
            self.stop()
            if self._store is not None:
                self._store.close()
            if self._home is not None:
                self._home.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _forget(self, sandbox: AgentSandbox) -> None:
        with self._lock:
            self._sandboxes.discard(sandbox)

    def _open(self) -> tuple[SnapshotStore, Path]:
        """The store and our folder; on the first call, they are made and those of dead processes removed."""
        if os.getpid() != self._process:  # before any lock, which a thread may hold that is not here
            raise SandboxError("a sandbox backend serves the process that made it: make another one in its forks")
        with self._lock:
            if self._closed:
                raise SandboxError("the sandbox backend is closed")
            if self._above is not None:
                store, home = self._above._open()
                own = home / f"world-{id(self):x}"
                own.mkdir(exist_ok=True)
                return store, own
            if self._store is None or self._home is None:
                base = (self._folder or temporary()).resolve()
                self._home = settle(base / "live")
                self._store = SnapshotStore(self._folder or self._home.folder, self._snapshot_bytes)
            return self._store, self._home.folder
