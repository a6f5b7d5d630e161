"""A content-addressed store of workspaces: equal worlds have equal names, and equal files are kept once.

On disk: ``blobs/<2 hex>/<62 hex>`` hold file contents under their SHA-256, ``manifests/<64 hex>`` the canonical
JSON of one snapshot under its own. Everything is written beside its place and renamed into it, so what is there is
whole. It outlives the process; several processes may share one store.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import mmap
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from agentdistill.errors import SnapshotError
from agentdistill.sandbox.base import SnapshotId
from agentdistill.sandbox.shell import ShellState
from agentdistill.sandbox.trees import Entry, Memory, look, make_over

_CHUNK = 1 << 20
_FORMAT = 1


@dataclass
class Tree:
    """One workspace as the store knows it: where it is, and what was last found in it."""

    root: str
    memory: Memory
    last: tuple[tuple[Entry, ...], ShellState, SnapshotId] | None = field(default=None)


class SnapshotStore:
    """Keeps workspaces and puts them back. Thread-safe; one tree is used by one caller at a time.

    Args:
        folder: where the store is or is to be.
    """

    def __init__(self, folder: Path) -> None:
        self._blobs = folder / "blobs"
        self._manifests = folder / "manifests"
        self._blobs.mkdir(parents=True, exist_ok=True)
        self._manifests.mkdir(exist_ok=True)
        self._lock_path = folder / "lock"
        self._lock_path.touch()
        self._dropped = 0
        self._dropped_lock = threading.Lock()

    def tree(self, root: Path, *, trusts_ctime: bool = True) -> Tree:
        """A workspace to be kept here; see `shows_mapped_writes` for `trusts_ctime`."""
        return Tree(str(root), Memory(trusts_ctime))

    def keep(self, tree: Tree, shell: ShellState) -> SnapshotId:
        """Keep a workspace and its shell state; costs what changed since the last time.

        Raises:
            SnapshotError: the disk does not take it.
        """
        try:
            with self._locked(fcntl.LOCK_SH):
                entries = look(tree.root, tree.memory, self._put)
                if (
                    tree.last is not None
                    and tree.last[:2] == (entries, shell)
                    and self._manifest(tree.last[2]).exists()
                ):
                    return tree.last[2]
                self._put_again_what_was_collected(tree, entries)
                text = _encode(entries, shell)
                name = hashlib.sha256(text).hexdigest()
                if not self._manifest(name).exists():
                    self._write(str(self._manifest(name)), [text])
        except OSError as error:
            raise SnapshotError(f"cannot keep the workspace: {error}") from error
        tree.last = (entries, shell, name)
        return name

    def restore(self, tree: Tree, snapshot: SnapshotId) -> ShellState:
        """Make a workspace exactly what it was, by touching only what differs, and return the shell state.

        Raises:
            SnapshotError: it is not kept any more, or the workspace does not match its digest afterwards.
        """
        try:
            with self._locked(fcntl.LOCK_SH):
                target, shell = self._read(snapshot)
                make_over(tree.root, look(tree.root, tree.memory, _digest), target, self._fetch)
                entries = look(tree.root, tree.memory, _digest)
        except OSError as error:
            raise SnapshotError(f"cannot restore snapshot {snapshot[:12]}: {error}") from error
        if hashlib.sha256(_encode(entries, shell)).hexdigest() != snapshot:
            odd = sorted(set(entries) ^ set(target))
            raise SnapshotError(f"restored snapshot {snapshot[:12]} does not match its digest, first at {odd[:1]}")
        tree.last = (entries, shell, snapshot)
        return shell

    def holds(self, snapshot: SnapshotId) -> bool:
        """True if `snapshot` is kept here."""
        return len(snapshot) == 64 and snapshot.isalnum() and self._manifest(snapshot).exists()

    def drop(self, snapshots: Sequence[SnapshotId]) -> None:
        """Forget snapshots. Blobs are swept from time to time, when about as many were dropped as are left."""
        dropped = 0
        for snapshot in snapshots:
            if self.holds(snapshot):
                self._manifest(snapshot).unlink(missing_ok=True)
                dropped += 1
        with self._dropped_lock:
            self._dropped += dropped
            due = self._dropped >= 64 and self._dropped >= len(os.listdir(self._manifests))
        if due:
            self.collect()

    def collect(self) -> int:
        """Remove the blobs that no snapshot needs any more; returns how many."""
        removed = 0
        with self._locked(fcntl.LOCK_EX):
            needed: set[str] = set()
            for name in os.listdir(self._manifests):
                if not self.holds(name):  # what a process that was killed left half written
                    (self._manifests / name).unlink()
                with suppress(SnapshotError, FileNotFoundError):
                    needed.update(entry.value for entry in self._read(name)[0] if entry.kind == "file")
            for shelf in os.listdir(self._blobs):
                for rest in os.listdir(self._blobs / shelf):
                    if shelf + rest not in needed:
                        (self._blobs / shelf / rest).unlink()
                        removed += 1
        with self._dropped_lock:
            self._dropped = 0
        return removed

    def _manifest(self, snapshot: SnapshotId) -> Path:
        return self._manifests / snapshot

    def _blob(self, digest: str) -> str:
        return f"{self._blobs}/{digest[:2]}/{digest[2:]}"

    def _read(self, snapshot: SnapshotId) -> tuple[tuple[Entry, ...], ShellState]:
        try:
            text = self._manifest(snapshot).read_bytes() if self.holds(snapshot) else None
        except FileNotFoundError:
            text = None
        if text is None:
            raise SnapshotError(f"snapshot {snapshot[:12]!r} is not kept (any more)")
        if hashlib.sha256(text).hexdigest() != snapshot:
            raise SnapshotError(f"the manifest of snapshot {snapshot[:12]} is damaged")
        return _decode(text)

    def _put(self, path: str) -> str:
        """Keep the content of the file at `path` and return its digest."""
        with open(path, "rb") as source:
            content = source.read(_CHUNK)
            if source.peek(1):
                digest = _digest(path)
                size = os.fstat(source.fileno()).st_size
            else:
                digest, size = hashlib.sha256(content).hexdigest(), len(content)
            blob = self._blob(digest)
            with suppress(FileNotFoundError):
                # A machine that crashed may have left a torn one behind.
                if os.stat(blob).st_size == size:
                    return digest
            os.makedirs(os.path.dirname(blob), exist_ok=True)
            self._write(blob, chain([content], iter(lambda: source.read(_CHUNK), b"")))
        return digest

    def _put_again_what_was_collected(self, tree: Tree, entries: Sequence[Entry]) -> None:
        """A file known from the last look is not read again, but its blob may have been dropped since."""
        for entry in entries:
            if entry.kind == "file" and not os.path.exists(self._blob(entry.value)):
                tree.memory.seen.clear()
                look(tree.root, tree.memory, self._put)
                return

    def _fetch(self, digest: str, path: str) -> None:
        try:
            with open(self._blob(digest), "rb") as source, open(path, "xb") as copy:
                shutil.copyfileobj(source, copy)
        except FileNotFoundError as error:
            raise SnapshotError(f"the content {digest[:12]} of {os.path.basename(path)!r} is lost") from error

    def _write(self, place: str, chunks: Iterable[bytes]) -> None:
        beside = f"{place}.{secrets.token_hex(6)}"
        try:
            with open(beside, "xb") as copy:
                copy.writelines(chunks)
            os.rename(beside, place)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(beside)
            raise

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        """Shared while blobs are counted on, exclusive while they are swept; holds across processes."""
        lock = os.open(self._lock_path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, kind)
            yield
        finally:
            os.close(lock)


def shows_mapped_writes(folder: Path) -> bool:
    """True if a write through a shared memory map in `folder` shows in the file's ctime. On tmpfs it does not."""
    probe = folder / f"probe-{secrets.token_hex(6)}"
    try:
        with open(probe, "xb+") as file:
            file.write(b"0")
            file.flush()
            before = os.fstat(file.fileno()).st_ctime_ns
            time.sleep(0.02)
            with mmap.mmap(file.fileno(), 1) as mapped:
                # Read first: a page that is already mapped is then written without the kernel noticing, if at all.
                mapped[0] = mapped[0] + 1
                mapped.flush()
            return os.fstat(file.fileno()).st_ctime_ns != before
    finally:
        probe.unlink(missing_ok=True)


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _encode(entries: Sequence[Entry], shell: ShellState) -> bytes:
    world = {"format": _FORMAT, "tree": entries, "directory": shell.directory, "exports": shell.exports}
    return json.dumps(world, sort_keys=True, separators=(",", ":")).encode()


def _decode(text: bytes) -> tuple[tuple[Entry, ...], ShellState]:
    world = json.loads(text)
    shell = ShellState(world["directory"], tuple((name, value) for name, value in world["exports"]))
    return tuple(Entry(*entry) for entry in world["tree"]), shell
