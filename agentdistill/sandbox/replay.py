"""Snapshots for backends that keep none: what was done is written down, and done again in a fresh sandbox.

Slower than any snapshot, and exact only as far as the commands do the same each time: whatever they said is compared,
and a replay that says something else is an error. What a command does with the clock, with chance or in the background
is not seen where it does not show in its output or exit code.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from agentdistill.errors import ReplayError, SandboxLostError, SnapshotError
from agentdistill.sandbox.base import (
    Capabilities,
    ExecResult,
    LiveProcesses,
    Sandbox,
    SandboxBackend,
    SandboxFile,
    SnapshotId,
)
from agentdistill.sandbox.homes import Home, settle, temporary
from agentdistill.sandbox.inside import wire
from agentdistill.sandbox.objects import Objects, ObjectStore
from agentdistill.sandbox.worlds import World, world_of

FILE = "replays.sqlite"
_Result = TypeVar("_Result")
_NOTHING = sha256(b"").digest()
"""What comes before the first act."""
_GAP = "a snapshot is what was done: restoring it does all of that again, and takes as long"


class ReplayingBackend:
    """A backend around another one, whose sandboxes can be kept and forked by doing again what was done.

    Args:
        backend: makes the sandboxes. It belongs to this one from now on, and is closed with it.
        folder: where what was done is kept; without it, in a temporary place until `close`.
        store: what was done is kept there, by somebody else who closes it and the backend.
    """

    def __init__(
        self, backend: SandboxBackend, folder: Path | None = None, *, store: ObjectStore | None = None
    ) -> None:
        self._backend = backend
        self._home: Home | None = None
        self._store_is_mine = store is None
        if store is not None:
            self._store = store
            return
        if folder is None:
            self._home = settle(temporary() / "live")
            folder = self._home.folder
        folder.mkdir(parents=True, exist_ok=True)
        self._store = ObjectStore(folder / FILE, _reach)

    @property
    def capabilities(self) -> Capabilities:
        """Those of the backend, with snapshots of whatever commands wrote, wherever it is."""
        inner = self._backend.capabilities
        gaps = {**inner.known_gaps, "replay": _GAP}
        return replace(inner, snapshot="filesystem", known_gaps=gaps)

    def create(self, snapshot: SnapshotId | None = None) -> ReplayingSandbox:
        """See `SandboxBackend.create`."""
        sandbox = ReplayingSandbox(self._backend, self._store)
        if snapshot is not None:
            try:
                sandbox.restore(snapshot)
            except BaseException:
                sandbox.close()
                raise
        return sandbox

    def world(self, world: World) -> ReplayingBackend:
        """See `WorldBackend.world`."""
        made = world_of(self._backend, world)
        return self if made is self._backend else ReplayingBackend(made, store=self._store)

    def drop(self, snapshots: Sequence[SnapshotId]) -> None:
        """See `SandboxBackend.drop`."""
        with self._store.writing() as objects:
            objects.drop(snapshots)

    def release(self, owner: str) -> None:
        """See `SandboxBackend.release`."""
        with self._store.writing() as objects:
            objects.release(owner)

    def close(self) -> None:
        """See `SandboxBackend.close`."""
        if not self._store_is_mine:
            return
        try:
            self._backend.close()
        finally:
            self._store.close()
            if self._home is not None:
                home, self._home = self._home, None
                home.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ReplayingSandbox:
    """See `Sandbox`. What changes the world is written down; what only looks at it is not."""

    def __init__(self, backend: SandboxBackend, store: ObjectStore) -> None:
        self._backend = backend
        self._store = store
        self._sandbox: Sandbox = backend.create()
        self._last = _NOTHING
        self._done: dict[bytes, bytes] = {}
        """All that led here: what was kept once may have been dropped since."""
        self._astray = ""

    @property
    def python(self) -> str:
        """See `Sandbox.python`."""
        return self._sandbox.python

    @property
    def workspace(self) -> str:
        """See `Sandbox.workspace`."""
        return self._sandbox.workspace

    @property
    def lost_processes(self) -> LiveProcesses:
        """See `Sandbox.lost_processes`."""
        return self._sandbox.lost_processes

    def exec(
        self,
        command: str | Sequence[str],
        *,
        timeout: float | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> ExecResult:
        """See `Sandbox.exec`."""
        act = {
            "do": "exec",
            "command": _storable(command) if isinstance(command, str) else [_storable(part) for part in command],
            "microseconds": -1 if timeout is None or timeout == inf else int(max(0.0, timeout) * 1e6),
            "files": [[name, bytes(content)] for name, content in (files or {}).items()],
        }
        ended = self._attempt(lambda: _exec(self._sandbox, act))
        self._write_down(act, _seen(ended))
        return ended

    def read_file(self, path: str) -> bytes:
        """See `Sandbox.read_file`."""
        return self._sandbox.read_file(path)

    def write_file(self, path: str, content: bytes, *, executable: bool = False) -> None:
        """See `Sandbox.write_file`."""
        self._do({"do": "write", "path": path, "content": content, "executable": executable})

    def remove_file(self, path: str) -> None:
        """See `Sandbox.remove_file`."""
        self._do({"do": "remove", "path": path})

    def list_files(self, path: str = ".") -> list[str]:
        """See `Sandbox.list_files`."""
        return self._sandbox.list_files(path)

    def upload(self, files: Mapping[str, SandboxFile], directory: str = ".") -> None:
        """See `Sandbox.upload`."""
        listed = [[path, file.content, file.executable] for path, file in files.items()]
        self._do({"do": "upload", "files": listed, "directory": directory})

    def download(self, directory: str = ".", *, largest: int | None = None) -> dict[str, SandboxFile]:
        """See `Sandbox.download`."""
        return self._sandbox.download(directory, largest=largest)

    def processes(self) -> LiveProcesses:
        """See `Sandbox.processes`."""
        return self._sandbox.processes()

    def snapshot(self, owner: str = "") -> SnapshotId:
        """See `Sandbox.snapshot`.

        Raises:
            SandboxLostError: the sandbox is not where what is written down leads: it is closed, or something failed.
        """
        if self._astray:
            raise SandboxLostError(self._astray)
        name = self._last.hex()
        with self._store.writing() as objects:
            there = objects.sizes(self._done)
            objects.put({digest: act for digest, act in self._done.items() if digest not in there})
            objects.put_world(name, self._last, owner)
        return name

    def restore(self, snapshot: SnapshotId) -> None:
        """See `Sandbox.restore`. Everything is done again in a fresh sandbox.

        Raises:
            ReplayError: something was not as it had been.
            SnapshotError: it is not kept any more.
        """
        with self._store.reading() as objects:
            last = objects.world(snapshot)
            if last is None:
                raise SnapshotError(f"snapshot {snapshot[:12]} is not kept any more")
            acts = list(_acts(objects, last))
        self.close()
        self._sandbox = self._backend.create()
        for number, act in enumerate(map(wire.loads, reversed(acts)), 1):
            now, before = _again(self._sandbox, act), act["seen"]
            if now != before:
                raise ReplayError(f"act {number} of {len(acts)} ({_shown(act)}): {_difference(before, now)}")
        self._last, self._done, self._astray = last, {sha256(act).digest(): act for act in acts}, ""

    def close(self) -> None:
        """See `Sandbox.close`."""
        self._astray = "the sandbox is closed, or was not restored to its end"
        self._sandbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _do(self, act: dict[str, Any]) -> None:
        try:
            wire.dumps(act)
        except UnicodeEncodeError:
            error = FileNotFoundError if act["do"] == "remove" else PermissionError
            raise error(f"{_shown(act)}: not a file name") from None
        try:
            self._attempt(lambda: _perform(self._sandbox, act))
        except (FileNotFoundError, PermissionError) as error:
            self._write_down(act, [type(error).__name__])
            raise
        self._write_down(act, [])

    def _attempt(self, act: Callable[[], _Result]) -> _Result:
        """Do something; if it fails as it should not, nobody knows what it has done."""
        try:
            return act()
        except (FileNotFoundError, PermissionError):
            raise
        except BaseException as error:
            self._astray = f"what was done last failed in the middle: {error}"
            raise

    def _write_down(self, act: dict[str, Any], seen: list[object]) -> None:
        written = wire.dumps({**act, "seen": seen, "before": self._last})
        self._last = sha256(written).digest()
        self._done[self._last] = written


def _storable(text: str) -> str:
    """A command as backends run it: what no bytes were escaped to is replaced."""
    try:
        return os.fsdecode(os.fsencode(text))
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()


def _acts(objects: Objects, last: bytes) -> Iterator[bytes]:
    """What was done, as it is written down, the last act first."""
    while last != _NOTHING:
        written = objects.get(last)
        if written is None or sha256(written).digest() != last:
            raise SnapshotError(f"what was done before {last.hex()[:12]} is lost")
        yield written
        last = wire.loads(written)["before"]


def _reach(objects: Objects, records: Iterable[bytes], needed: dict[bytes, bool]) -> None:
    for last in records:
        while last != _NOTHING and last not in needed:
            needed[last] = True
            written = objects.get(last)
            last = _NOTHING if written is None else wire.loads(written)["before"]


def _again(sandbox: Sandbox, act: Mapping[str, Any]) -> list[object]:
    """Do what was done; what is seen of it now."""
    if act["do"] == "exec":
        return _seen(_exec(sandbox, act))
    try:
        _perform(sandbox, act)
    except (FileNotFoundError, PermissionError) as error:
        return [type(error).__name__]
    return []


def _exec(sandbox: Sandbox, act: Mapping[str, Any]) -> ExecResult:
    timeout = None if act["microseconds"] < 0 else act["microseconds"] / 1e6
    return sandbox.exec(act["command"], timeout=timeout, files=dict(act["files"]))


def _perform(sandbox: Sandbox, act: Mapping[str, Any]) -> None:
    if act["do"] == "write":
        sandbox.write_file(act["path"], act["content"], executable=act["executable"])
    elif act["do"] == "remove":
        sandbox.remove_file(act["path"])
    else:
        files = {path: SandboxFile(content, executable) for path, content, executable in act["files"]}
        sandbox.upload(files, act["directory"])


def _seen(ended: ExecResult) -> list[object]:
    return [ended.exit_code, ended.output, ended.timed_out, ended.truncated, ended.exceeded]


def _shown(act: Mapping[str, Any]) -> str:
    return repr(act.get("command", act.get("path", act["do"])))[:80]


def _difference(before: list[Any], now: list[Any]) -> str:
    for one, other in zip(before, now, strict=False):
        if isinstance(one, str) and isinstance(other, str) and one != other:
            same = (number for number, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1])
            at = max(0, next(same, min(len(one), len(other))) - 20)
            return f"it said {one[at : at + 60]!r} and says {other[at : at + 60]!r} now"
        if one != other:
            return f"it ended with {one!r} and ends with {other!r} now"
    return f"it was {before!r:.80} and is {now!r:.80} now"
