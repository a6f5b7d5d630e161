"""A sandbox whose commands, files and snapshots are served by an agent inside it, however that was started."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self, get_args

from agentdistill.errors import SandboxLostError, SnapshotError
from agentdistill.sandbox.base import Exceeded, ExecResult, Limits, LiveProcesses, SandboxFile, SnapshotId
from agentdistill.sandbox.guest import Connection, Guest
from agentdistill.sandbox.shell import ENVIRONMENT, FILES, WORKSPACE, ShellState
from agentdistill.sandbox.snapshots import ImageNeededError, SnapshotStore
from agentdistill.sandbox.whole import Change

_LARGEST_LISTING = 256 << 20
_CUT_MARK = 100


@dataclass(frozen=True)
class Whole:
    """A sandbox whose whole file system is kept, and what its commands are there.

    Attributes:
        user: numbers of the user that commands run as, of its group, and a list of its other groups.
        skipped: folders that are not kept.
        listing: what the image has, as an agent has told it; nothing in the sandbox that is to tell it.
        base: digest of the image's tree; nothing where that is to be found out.
        again: starts another one like it.
    """

    user: tuple[int, int, list[int]]
    skipped: tuple[str, ...]
    listing: bytes = b""
    base: bytes = b""
    again: Callable[[], Started] | None = None


@dataclass(frozen=True)
class Started:
    """An agent that a backend has started, and what is particular to where it runs."""

    connection: Connection
    python: str
    """Absolute path, inside, of a Python for commands."""
    environment: Mapping[str, str] = field(default_factory=lambda: ENVIRONMENT)
    """All the variables of an argument vector, and what a shell begins with."""
    rlimits: Mapping[str, int] | None = None
    """Limits of each process by the name of the resource, such as ``AS``, where no control group has them."""
    scratch: tuple[str, ...] = ("/tmp", "/dev/shm")
    """Writable folders other than the workspace; they are emptied when a command is over and nobody lives on."""
    workspace: str = WORKSPACE
    """Absolute path, inside, of the workspace."""
    counters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Limits, by their names in `Exceeded` → where, inside, the kernel may show how often they were met."""
    lower: Sequence[Any] = ()
    """Arguments for `inside.lowering.lower`, where the agent is root of its user namespace when it starts."""
    refuse: bytes = b""
    """System calls that are refused inside, as `seccomp.program` has them."""
    whole: Whole | None = None
    """Where the whole file system is kept, and not only the workspace."""


@dataclass(frozen=True)
class LiveProcessPolicy:
    """What becomes of processes when their command is over, and of a world that is restored without them."""

    background: Literal["kill", "keep"] = "kill"
    on_restore: Literal["refuse", "accept", "restart"] = "refuse"
    restart: str = ""


def greeting(started: Started, limits: Limits, policy: LiveProcessPolicy) -> dict[str, Any]:
    """The first request to an agent; see `hello` there."""
    return {
        "do": "hello",
        "workspace": started.workspace,
        "files": FILES,
        "scratch": list(started.scratch),
        "largest": limits.file_bytes,
        "output": limits.output_bytes,
        "keep": policy.background == "keep",
        "limits": {"FSIZE": limits.file_bytes, **(started.rlimits or {})},
        "counters": {limit: list(paths) for limit, paths in started.counters.items()},
        "lower": list(started.lower),
        "refuse": started.refuse,
        "whole": {} if started.whole is None else _greeting_of_whole(started.whole, limits),
    }


def _greeting_of_whole(whole: Whole, limits: Limits) -> dict[str, Any]:
    room = {"bytes": limits.workspace_bytes, "files": limits.workspace_files}
    return {"user": list(whole.user), "skipped": list(whole.skipped), **room}


class AgentSandbox:
    """See `Sandbox` for what its methods promise. Made by a backend's `create`.

    Args:
        started: the agent; it is ended with the sandbox.
        limits: what commands may use.
        policy: what becomes of processes.
        store: where snapshots are kept.
        forget: called once when the sandbox is closed.
    """

    def __init__(
        self,
        started: Started,
        limits: Limits,
        policy: LiveProcessPolicy,
        store: SnapshotStore,
        forget: Callable[[AgentSandbox], None],
    ) -> None:
        self._guest = Guest(started.connection)
        self._python = started.python
        self._environment = {name: os.fsencode(value) for name, value in started.environment.items()}
        self._limits = limits
        self._policy = policy
        self._store = store
        self._forget = forget
        self._workspace = started.workspace
        self._whole = started.whole
        self._shell = ShellState(started.workspace, tuple(sorted(started.environment.items())))
        self._lost_processes = LiveProcesses()
        self._closed = False
        self._greet(started)

    @property
    def python(self) -> str:
        """See `Sandbox.python`."""
        return self._python

    @property
    def workspace(self) -> str:
        """See `Sandbox.workspace`."""
        return self._workspace

    @property
    def lost_processes(self) -> LiveProcesses:
        """See `Sandbox.lost_processes`."""
        return self._lost_processes

    def exec(
        self,
        command: str | Sequence[str],
        *,
        timeout: float | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> ExecResult:
        """See `Sandbox.exec`. A command whose time ran out has exit code 124, one that cannot be found 127.

        Argument vectors get a fixed environment, not the exported variables, so that a check cannot be misled
        through them.
        """
        seconds = self._limits.seconds if timeout is None else min(timeout, self._limits.seconds)
        files = files or {}
        request: dict[str, Any] = {"do": "exec", "directory": os.fsencode(self._shell.directory)}
        if isinstance(command, str):
            request["line"] = _encoded(command)
            request["environment"] = {name: os.fsencode(value) for name, value in self._shell.exports}
        else:
            if not command:
                raise ValueError("an empty argument vector is no command")
            request["argv"] = [_encoded(part) for part in command]
            request["environment"] = self._environment
        request["microseconds"] = int(seconds * 1e6)
        request["files"] = [[_path(name, PermissionError), len(content), True] for name, content in files.items()]
        head, output = self._guest.ask(
            request,
            files.values(),
            sum(map(len, files.values())),
            largest=self._limits.output_bytes + _CUT_MARK,
            seconds=seconds,
        )
        try:
            return self._ended(head, output)
        except (KeyError, TypeError, ValueError) as error:
            raise self._not_an_agent(error) from error

    def read_file(self, path: str) -> bytes:
        """See `Sandbox.read_file`."""
        request = {"do": "read", "path": _path(path, FileNotFoundError)}
        return self._guest.ask(request, largest=self._limits.file_bytes)[1]

    def write_file(self, path: str, content: bytes, *, executable: bool = False) -> None:
        """See `Sandbox.write_file`. An existing file keeps its mode, but for what `executable` adds."""
        self._write([[_path(path, PermissionError), len(content), executable]], [content], "")

    def remove_file(self, path: str) -> None:
        """See `Sandbox.remove_file`."""
        self._guest.ask({"do": "remove", "path": _path(path, FileNotFoundError)})

    def list_files(self, path: str = ".") -> list[str]:
        """See `Sandbox.list_files`."""
        request = {"do": "paths", "path": _path(path, FileNotFoundError)}
        _, listing = self._guest.ask(request, largest=_LARGEST_LISTING)
        return sorted(os.fsdecode(name) for name in listing.split(b"\0")[:-1])

    def upload(self, files: Mapping[str, SandboxFile], directory: str = ".") -> None:
        """See `Sandbox.upload`."""
        if absolute := [path for path in files if path.startswith("/")]:
            raise PermissionError(f"{absolute[0]!r} is not relative to the directory")
        listed = [[_path(path, PermissionError), len(file.content), file.executable] for path, file in files.items()]
        self._write(listed, [file.content for file in files.values()], directory)

    def download(self, directory: str = ".", *, largest: int | None = None) -> dict[str, SandboxFile]:
        """See `Sandbox.download`."""
        most = self._limits.workspace_bytes if largest is None else min(largest, self._limits.workspace_bytes)
        request = {"do": "download", "path": _path(directory, FileNotFoundError), "largest": most}
        head, contents = self._guest.ask(request, largest=most)
        files: dict[str, SandboxFile] = {}
        at = 0
        try:
            for path, size, executable in head["files"]:
                files[_relative(path)] = SandboxFile(contents[at : at + size], bool(executable))
                at += size
        except (KeyError, TypeError, ValueError) as error:
            raise self._not_an_agent(error) from error
        return files

    def processes(self) -> LiveProcesses:
        """See `Sandbox.processes`."""
        head, _ = self._guest.ask({"do": "processes"})
        try:
            return live_processes(head)
        except (KeyError, TypeError, ValueError) as error:
            raise self._not_an_agent(error) from error

    def snapshot(self, owner: str = "") -> SnapshotId:
        """See `Sandbox.snapshot`. Whoever lives is frozen meanwhile, and is part of the world."""
        keeps = self._policy.background == "keep"
        try:
            if keeps:
                self._guest.ask({"do": "freeze"})
            try:
                return self._store.keep(self._guest.ask, self._shell, owner, self._base)
            finally:
                if keeps:
                    self._guest.ask({"do": "thaw"})
        except (KeyError, TypeError, ValueError) as error:
            raise self._not_an_agent(error) from error

    def restore(self, snapshot: SnapshotId) -> None:
        """See `Sandbox.restore`."""
        live = self._store.world(snapshot).live
        if live != LiveProcesses() and self._policy.on_restore == "refuse":
            raise SnapshotError(f"processes lived in snapshot {snapshot[:12]}: {', '.join(live.commands)[:200]}")
        try:
            if self._policy.background == "keep":
                self._guest.ask({"do": "kill"})
            try:
                world = self._store.restore(self._guest.ask, snapshot, self._base)
            except ImageNeededError:
                self._begin_anew()
                world = self._store.restore(self._guest.ask, snapshot, self._base)
        except (KeyError, TypeError, ValueError) as error:
            raise self._not_an_agent(error) from error
        self._shell = world.shell
        self._lost_processes = live
        if live != LiveProcesses() and self._policy.on_restore == "restart":
            self._restart(live)

    @property
    def is_whole(self) -> bool:
        """See `WholeSandbox.is_whole`."""
        return self._whole is not None

    def take_over(self, snapshot: SnapshotId, wanted: Callable[[Change], bool]) -> None:
        """See `WholeSandbox.take_over`."""
        try:
            self._store.take_over(self._guest.ask, snapshot, wanted)
        except (KeyError, TypeError, ValueError) as error:
            raise self._not_an_agent(error) from error

    def image_files(self) -> Iterator[str]:
        """See `WholeSandbox.image_files`."""
        return self._store.files(self._base)

    def look_at_image(self) -> tuple[SnapshotId, bytes, bytes]:
        """What the sandbox holds, as that which later ones of its image begin with: snapshot, base and listing."""
        snapshot = self._store.keep(self._guest.ask, self._shell, "", None)
        _, listing = self._guest.ask({"do": "image"}, largest=_LARGEST_LISTING)
        return snapshot, self._store.world(snapshot).base, listing

    def hang_up(self) -> None:
        """Have the agent end without waiting for it; `close` is still needed."""
        self._guest.hang_up()

    def close(self) -> None:
        """See `Sandbox.close`."""
        if not self._closed:
            self._closed = True
            try:
                self._guest.close()
            finally:
                self._forget(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _base(self) -> bytes:
        return b"" if self._whole is None else self._whole.base

    def _greet(self, started: Started) -> None:
        listing = started.whole.listing if started.whole is not None else b""
        try:
            self._guest.ask(greeting(started, self._limits, self._policy), [listing], len(listing))
        except BaseException:
            self._guest.close()
            raise

    def _begin_anew(self) -> None:
        """Go on in another container, which is as the image is."""
        assert self._whole is not None
        assert self._whole.again is not None
        self._guest.close()
        started = self._whole.again()
        self._guest = Guest(started.connection)
        if self._closed:  # by another thread, in the meantime
            self._guest.close()
        self._greet(started)

    def _ended(self, head: dict[str, Any], output: bytes) -> ExecResult:
        timed_out, exceeded = bool(head["timed_out"]), head["exceeded"]
        met = self._guest.exceeded()  # asked whatever is told, or the next command would be blamed for it
        if exceeded not in get_args(Exceeded):
            raise ValueError(f"an unknown limit {exceeded!r}")
        if left := head["shell"]:
            self._shell = _shell_state(left, self._shell)
        elif os.fsencode(self._shell.directory) != head["directory"]:
            self._shell = ShellState(self._workspace, self._shell.exports)
        return ExecResult(
            exit_code=int(head["exit"]),
            output=output.decode(errors="replace"),
            timed_out=timed_out,
            truncated=bool(head["truncated"]),
            seconds=int(head["microseconds"]) / 1e6,
            exceeded="time" if timed_out else met or exceeded,
        )

    def _restart(self, live: LiveProcesses) -> None:
        """Run the command line that brings processes back; the shell stays as it was restored."""
        shell = self._shell
        ended = self.exec(self._policy.restart)
        self._shell = shell
        if ended.exit_code:
            raise SnapshotError(f"the restart of processes ended with {ended.exit_code}: {ended.output[-200:]}")
        now = self.processes()
        self._lost_processes = LiveProcesses(
            tuple((Counter(live.commands) - Counter(now.commands)).elements()),
            tuple(sorted(set(live.ports) - set(now.ports))),
        )

    def _write(self, listed: list[list[Any]], contents: list[bytes], directory: str) -> None:
        for path, size, _ in listed:
            if size > self._limits.file_bytes:
                raise PermissionError(f"{os.fsdecode(path)!r}: larger than {self._limits.file_bytes} bytes")
        size = sum(map(len, contents))
        if size > self._limits.workspace_bytes:
            raise PermissionError(f"the files are larger than {self._limits.workspace_bytes} bytes together")
        request = {"do": "upload", "directory": _path(directory, PermissionError), "files": listed}
        self._guest.ask(request, contents, size)

    def _not_an_agent(self, error: Exception) -> SandboxLostError:
        """What says so is not our agent any more: give it up."""
        self._guest.close()
        return SandboxLostError(f"the sandbox does not answer as agents do: {type(error).__name__}: {error}")


def live_processes(head: Mapping[str, Any]) -> LiveProcesses:
    """Processes as the agent lists them.

    Raises:
        KeyError, TypeError, ValueError: it does not list them in the right form.
    """
    commands = tuple(sorted(line.decode(errors="replace") for line in head["commands"]))
    ports = tuple(sorted(int(port) for port in head["ports"]))
    return LiveProcesses(commands, ports)


def _shell_state(left: Any, before: ShellState) -> ShellState:
    directory, exports = left
    path = os.fsdecode(directory)
    pairs = tuple(sorted((name, os.fsdecode(value)) for name, value in exports.items()))
    return ShellState(path if path.startswith("/") else before.directory, pairs)


def _encoded(text: str) -> bytes:
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:
        return text.encode(errors="replace")


def _path(path: str, error: type[OSError]) -> bytes:
    """A path as bytes; `error` if no file can have it."""
    try:
        return os.fsencode(path)
    except UnicodeEncodeError:
        raise error(f"{path!r}: not a file name") from None


def _relative(path: bytes) -> str:
    if path.startswith(b"/") or b".." in path.split(b"/") or b"\0" in path or not path:
        raise ValueError("a path that leaves the workspace")
    return os.fsdecode(path)
