"""What a sandbox promises, on one page.

A `SandboxBackend` makes sandboxes and keeps their snapshots; a `Sandbox` is one world that commands run in.
Snapshots belong to the backend, so that any sandbox of it can be put into any of them: that is what
restore and fork are. A non-zero exit is a *result*; an exception means the machinery broke.

A backend of your own is one class in one file, found as ``module:Name`` or under a name in the entry-point group
``agentdistill.sandboxes``. It is called with `folder` and `limits` and whatever settings of its own it takes; the
checks of ``agentdistill sandbox check`` say whether it keeps what this page promises. Tasks with an image, a directory,
users or limits of their own need one that has `world` as well (`agentdistill.sandbox.worlds`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

SnapshotId = str
Exceeded = Literal["", "time", "memory", "processes", "workspace", "file"]
"""Which limit a command met; empty if none did."""


class Limits(BaseModel):
    """What a sandbox, and one command in it, may use. `Capabilities.limits` names those a backend enforces."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(default=20.0, gt=0)
    """Wall-clock time of a command; past it the whole process tree is killed."""
    memory_bytes: int = Field(default=1 << 30, gt=0)
    """Memory of the sandbox, its files included, where a cgroup can be had; else address space of each process."""
    processes: int = Field(default=256, gt=0)
    """Processes and threads alive at once."""
    cpus: float = Field(default=1.0, gt=0)
    """Processors' worth of time, where a cgroup can be had."""
    workspace_bytes: int = Field(default=256 << 20, gt=0)
    """Everything in the workspace together; a workspace in memory never takes all of `memory_bytes`. Where snapshots
    keep the whole file system: everything beyond the image."""
    workspace_files: int = Field(default=100_000, gt=0)
    """Files, links and directories in the workspace, or beyond the image."""
    output_bytes: int = Field(default=64 << 10, ge=0)
    """Output kept of a command, head and tail; the cut is marked. The rest is read and dropped."""
    file_bytes: int = Field(default=64 << 20, gt=0)
    """Largest file a command may write, and largest that `read_file` returns."""


@dataclass(frozen=True)
class Capabilities:
    """What a backend can do here. Whoever needs more refuses to start: nothing is silently weaker."""

    snapshot: Literal["none", "workspace", "filesystem"] = "none"
    network: frozenset[Literal["none", "public"]] = frozenset({"none"})
    limits: frozenset[str] = frozenset()
    """Names of the fields of `Limits` that hold."""
    images: bool = False
    """Whether it makes sandboxes of the image that a task names, or of its Dockerfile; see `sandbox.worlds`."""
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
    exceeded: Exceeded = ""


@dataclass(frozen=True)
class SandboxFile:
    """A regular file on its way in or out."""

    content: bytes
    executable: bool = False


@dataclass(frozen=True)
class LiveProcesses:
    """What lives in a sandbox between two commands: command lines of its processes, and TCP ports they listen on."""

    commands: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()


@runtime_checkable
class Sandbox(Protocol):
    """One world that commands run in. Paths are relative to the workspace; others are refused.

    Working directory and exported variables persist from command to command, as in a terminal, and are
    part of a snapshot. Not thread-safe: one caller at a time. Every method raises `SandboxLostError` when the sandbox
    is gone, and `SandboxError` when the machinery fails otherwise.
    """

    @property
    def python(self) -> str:
        """Absolute path, inside the sandbox, of a Python that commands can be run with."""
        ...

    @property
    def workspace(self) -> str:
        """Absolute path, inside the sandbox, of the workspace."""
        ...

    @property
    def lost_processes(self) -> LiveProcesses:
        """What lived in the world that was restored last and lives no more; empty unless the backend accepts that."""
        ...

    def exec(
        self,
        command: str | Sequence[str],
        *,
        timeout: float | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> ExecResult:
        """Run a shell command line (str) or an argument vector, without network, in the persistent working directory.

        Over when the command itself is: what it left running in the background is killed, or lives on, as the backend
        is set. An argument vector leaves the shell state alone. `files` lie under ``/run/files`` for this command
        only. `timeout` in seconds may shorten the limit, never lengthen it.

        Raises:
            PermissionError: a name in `files` leaves the folder, or they are too large.
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
            PermissionError: the path leaves the workspace, something that is not a regular file is there, the content
                is larger than the limit, or the workspace is full.
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

    def upload(self, files: Mapping[str, SandboxFile], directory: str = ".") -> None:
        """Write many files at once, by path relative to `directory`; each as `write_file` does.

        Raises:
            PermissionError: as for `write_file`; those before the one it names are written.
        """
        ...

    def download(self, directory: str = ".", *, largest: int | None = None) -> dict[str, SandboxFile]:
        """Every regular file below `directory` that its owner may read, by path relative to the workspace.

        Links are not followed; links, pipes, sockets and devices are left out, and so are empty directories.

        Args:
            directory: where to begin.
            largest: bytes of all of them together; `workspace_bytes` at most, and by default.

        Raises:
            FileNotFoundError: no such directory.
            PermissionError: the path leaves the workspace, or the files are larger than `largest` together.
        """
        ...

    def processes(self) -> LiveProcesses:
        """What lives in the sandbox now."""
        ...

    def snapshot(self, owner: str = "") -> SnapshotId:
        """Keep the workspace and the shell state as they are now, and return their name: equal worlds, equal names.

        Where `Capabilities.snapshot` is ``filesystem``, what is elsewhere is kept as well.

        Args:
            owner: for whom it is kept, until `SandboxBackend.release`. Without one it is kept until it is dropped.

        Raises:
            SnapshotError: there is no room for it.
        """
        ...

    def restore(self, snapshot: SnapshotId) -> None:
        """Make workspace and shell state exactly those of `snapshot`, of this sandbox or another of its backend.

        No process that ran before outlives it.

        Raises:
            SnapshotError: it is not kept any more, what was restored does not match its digest, or processes lived in
                it and the backend refuses to go on without them.
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
        """What this backend can do on this machine."""
        ...

    def create(self, snapshot: SnapshotId | None = None) -> Sandbox:
        """A fresh sandbox: empty, or a fork of `snapshot`. Forks never see each other.

        Raises:
            SandboxUnavailableError: this machine cannot isolate; the message says what to do about it.
            SnapshotError: see `Sandbox.restore`.
        """
        ...

    def drop(self, snapshots: Sequence[SnapshotId]) -> None:
        """Forget snapshots that nobody will restore. One that is not kept is passed over."""
        ...

    def release(self, owner: str) -> None:
        """Forget the snapshots that are kept for this owner and for nobody else."""
        ...

    def close(self) -> None:
        """Close every sandbox that is still open and free what the backend holds. May be called twice."""
        ...
