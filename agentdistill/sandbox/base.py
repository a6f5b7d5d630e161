"""What a sandbox promises, on one page.

A `SandboxBackend` makes sandboxes and keeps their snapshots; a `Sandbox` is one world that commands run in.
Snapshots belong to the backend, so that any sandbox of it can be put into any of them: that is what
restore and fork are. A non-zero exit is a *result*; an exception means the machinery broke.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

SnapshotId = str


class Limits(BaseModel):
    """What one command may use. A backend that cannot enforce one of them refuses to start."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = 20.0
    """Wall-clock time of a command; past it the whole process tree is killed."""
    memory_bytes: int = 1 << 30
    """Address space of each process."""
    output_bytes: int = 64 << 10
    """Output kept of a command, head and tail; the cut is marked. The rest is read and dropped."""
    file_bytes: int = 64 << 20
    """Largest file a command may write, and largest that `read_file` returns."""


@dataclass(frozen=True)
class Capabilities:
    """What a backend can do. Whoever needs more refuses to start: nothing is silently weaker."""

    snapshot: Literal["none", "workspace", "filesystem"] = "none"
    network: frozenset[Literal["none", "public"]] = frozenset({"none"})
    limits: frozenset[str] = frozenset()
    known_gaps: Mapping[str, str] = field(default_factory=dict)
    """Name of a threat this backend does not stop → what that means."""


@dataclass(frozen=True)
class ExecResult:
    """How a command ended. `output` is stdout and stderr as they came, made valid UTF-8, bounded by the limits."""

    exit_code: int
    output: str
    timed_out: bool = False
    truncated: bool = False
    seconds: float = 0.0


@runtime_checkable
class Sandbox(Protocol):
    """One world that commands run in. Paths are relative to the workspace; others are refused.

    Working directory and exported variables persist from command to command, as in a terminal, and are
    part of a snapshot. Not thread-safe: one caller at a time.
    """

    @property
    def python(self) -> str:
        """Absolute path, inside the sandbox, of a Python that commands can be run with."""
        ...

    def exec(
        self,
        command: str | Sequence[str],
        *,
        timeout: float | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> ExecResult:
        """Run a shell command line (str) or an argument vector, without network, in the persistent working directory.

        An argument vector leaves the shell state alone. `files` are laid read-only under ``/run/files`` for this
        command only. `timeout` in seconds may shorten the limit, never lengthen it.

        Raises:
            SandboxLostError: the sandbox is gone.
        """
        ...

    def read_file(self, path: str) -> bytes:
        """The bytes of a regular file. Links, devices and pipes are refused.

        Raises:
            FileNotFoundError: no such file, or one on the way is not a directory.
            PermissionError: the path leaves the workspace, is not a regular file, or is larger than the limit.
        """
        ...

    def write_file(self, path: str, content: bytes, *, executable: bool = False) -> None:
        """Write a file, with its parent directories; never through a link.

        Raises:
            PermissionError: the path leaves the workspace or something that is not a regular file is there.
        """
        ...

    def remove_file(self, path: str) -> None:
        """Remove a file or a link (not its target).

        Raises:
            FileNotFoundError: nothing is there.
            PermissionError: the path leaves the workspace or is a directory.
        """
        ...

    def list_files(self, path: str = ".") -> list[str]:
        """Every file and link below `path`, sorted, relative to the workspace. Links are not followed.

        Raises:
            FileNotFoundError: no such directory.
        """
        ...

    def snapshot(self) -> SnapshotId:
        """Keep the workspace and the shell state as they are now, and return their name: equal worlds, equal names."""
        ...

    def restore(self, snapshot: SnapshotId) -> None:
        """Make workspace and shell state exactly those of `snapshot`, of this sandbox or another of its backend.

        Raises:
            SnapshotError: it is not kept any more, or what was restored does not match its digest.
        """
        ...

    def close(self) -> None:
        """Leave nothing behind. May be called twice."""
        ...


@runtime_checkable
class SandboxBackend(Protocol):
    """Makes sandboxes and keeps their snapshots. Thread-safe."""

    @property
    def capabilities(self) -> Capabilities:
        """What this backend can do."""
        ...

    def create(self, snapshot: SnapshotId | None = None) -> Sandbox:
        """A fresh sandbox: empty, or a fork of `snapshot`. Forks never see each other.

        Raises:
            SandboxUnavailableError: this machine cannot isolate; the message says what to do about it.
            SnapshotError: `snapshot` is not kept any more.
        """
        ...

    def drop(self, snapshots: Sequence[SnapshotId]) -> None:
        """Forget snapshots that nobody will restore. One that is not kept is passed over."""
        ...

    def close(self) -> None:
        """Close every sandbox that is still open and free what the backend holds. May be called twice."""
        ...
