"""Worlds, kept as Merkle trees in an object store: equal worlds have equal names, and equal parts are kept once.

A world is a tree of files, the state of the shell, and what lived in it. Its record is canonical JSON, whose SHA-256
is its name. A snapshot asks the agent inside for the digest of its tree and takes what the store does not have yet; a
restore takes the agent's tree and the kept one apart as far as they differ and has the agent do what makes one into
the other, whose digest must then be the kept one. What an agent says is checked: it names objects by their digests.

One rule holds the store together: a directory is put in only together with all it names, and objects are only
swept all at once, so whatever is in the store is complete.

Where the whole file system of a container is kept, its tree has owners, and its world names the tree of its image, the
*base*. All directories of both are kept, but of the contents only those that are needed to make the base into the tree:
what the image has need not be kept for each of its worlds. So such a world can be made of its image only.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from agentdistill.errors import SnapshotError
from agentdistill.sandbox.asking import BATCH, Ask, Look, batches, look, sent
from agentdistill.sandbox.base import LiveProcesses, SnapshotId
from agentdistill.sandbox.difference import difference
from agentdistill.sandbox.inside.tree_objects import (
    DIRECTORY,
    content_digest,
    decode_directory,
    decode_tree,
    digest,
    references,
)
from agentdistill.sandbox.objects import PIECE, Objects, ObjectStore
from agentdistill.sandbox.planning import chosen, contents_of, filled, plan_of, reader
from agentdistill.sandbox.shell import ShellState
from agentdistill.sandbox.whole import Change

if TYPE_CHECKING:
    from agentdistill.sandbox.inside.tree_objects import Operation

FILE = "snapshots.sqlite"
_FORMAT = 2
_RECENT = 64 << 20
"""Bytes of contents that are held in memory."""
_MOST_DROPPED = 64


@dataclass(frozen=True)
class World:
    """What a snapshot has kept: the digest of the tree, the shell, and what lived in it; and the base, if any."""

    tree: bytes
    shell: ShellState
    live: LiveProcesses
    base: bytes = b""

    def record(self) -> bytes:
        """Canonical: equal for equal worlds."""
        record = {
            "format": _FORMAT,
            "tree": self.tree.hex(),
            "directory": self.shell.directory,
            "exports": self.shell.exports,
            "commands": self.live.commands,
            "ports": self.live.ports,
        }
        if self.base:
            record["base"] = self.base.hex()
        return json.dumps(record, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def of(cls, record: bytes) -> World:
        """The world of a record."""
        value = json.loads(record)
        shell = ShellState(value["directory"], tuple((name, text) for name, text in value["exports"]))
        live = LiveProcesses(tuple(value["commands"]), tuple(value["ports"]))
        return cls(bytes.fromhex(value["tree"]), shell, live, bytes.fromhex(value.get("base", "")))


class ImageNeededError(SnapshotError):
    """A restore needs contents that are kept nowhere but in the image: only a new container can become that world."""


class SnapshotStore:
    """Keeps worlds and puts them back. Thread-safe, and several processes may share one folder.

    `keep` and `restore` raise ValueError, KeyError or TypeError where an agent does not answer as agents do.

    Args:
        folder: where the store is or is to be, in one file.
        budget_bytes: how large the file may become. Past it, what was dropped is swept, and if that does not suffice
            nothing more is kept: `SnapshotError`.
    """

    def __init__(self, folder: Path, budget_bytes: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._objects = ObjectStore(folder / FILE, _reach, budget_bytes)
        self._recent = _Recent()

    # ---- keeping and restoring ---------------------------------------------------------------------------------------

    def keep(self, ask: Ask, shell: ShellState, owner: str = "", base: bytes | None = b"") -> SnapshotId:
        """Keep the world of an agent and return its name; costs what changed since the last time.

        Args:
            ask: the agent.
            shell: the state of the shell.
            owner: for whom it is kept, until `release`; for nobody in particular by default, until `drop`.
            base: digest of the image's tree, where the whole file system is kept; `None` if it is this very tree.

        Raises:
            SnapshotError: the disk or the budget does not take it.
        """
        for anew in (False, True):
            seen = look(ask, "all", anew=anew)
            world = World(seen.tree, shell, seen.live, seen.tree if base is None else base)
            record = world.record()
            name = sha256(record).hexdigest()
            if self._own(name, record, owner) or self._put(ask, seen, name, world, owner):
                return name
        raise SnapshotError("the agent in the sandbox keeps back a part of its tree")

    def restore(self, ask: Ask, snapshot: SnapshotId, base: bytes = b"") -> World:
        """Make the tree of an agent exactly what was kept, by touching only what differs, and return the world.

        Args:
            ask: the agent.
            snapshot: what was kept.
            base: digest of the tree of the image that the agent is in, where its whole file system is kept.

        Raises:
            ImageNeededError: it takes a new container of the image.
            SnapshotError: it is not kept any more, or the tree does not match its digest afterwards.
        """
        with self._objects.reading() as objects:
            world = _world(objects, snapshot)
            if world.base != base:
                raise SnapshotError(f"snapshot {snapshot[:12]} is of another image, or not of a whole file system")
            seen = look(ask, "structure")
            plan = plan_of(objects, seen, world.tree)
            if plan is None:  # swept since the agent gave it
                plan = plan_of(objects, look(ask, "structure", anew=True), world.tree)
            if plan is None:
                raise SnapshotError(f"a part of snapshot {snapshot[:12]} is lost")
            if not plan:
                return world
            if base and seen.tree != base and not contents_of(plan).issubset(objects.sizes(contents_of(plan))):
                raise ImageNeededError(f"snapshot {snapshot[:12]} can only be restored into a new container")
            self._make_over(ask, objects, plan)
            if look(ask, "nothing", held=world.tree).tree != world.tree:
                raise SnapshotError(f"restored snapshot {snapshot[:12]} does not match its digest")
        return world

    def take_over(self, ask: Ask, snapshot: SnapshotId, wanted: Callable[[Change], bool]) -> None:
        """Make of the tree of an agent what was kept of another whole file system, as far as that is `wanted`.

        Raises:
            SnapshotError: it is not kept any more, or not of a whole file system.
        """
        with self._objects.reading() as objects:
            world = _world(objects, snapshot)
            if not world.base:
                raise SnapshotError(f"snapshot {snapshot[:12]} is not of a whole file system")
            plan = plan_of(objects, look(ask, "structure"), world.tree)
            if plan is None:
                raise SnapshotError(f"a part of snapshot {snapshot[:12]} is lost")
            if plan := chosen(plan, wanted):
                self._make_over(ask, objects, plan)
                look(ask, "nothing")

    def files(self, tree: bytes) -> Iterator[str]:
        """Absolute paths of all that is no directory in a tree of a whole file system.

        Raises:
            SnapshotError: a part of it is lost.
        """
        with self._objects.reading() as objects:
            read = reader(objects)
            waiting = [(b"/", decode_tree(read(tree))[1])]
            while waiting:
                folder, name = waiting.pop()
                for entry, kind, _, value in decode_directory(read(name)):
                    if kind == DIRECTORY:
                        waiting.append((folder + entry + b"/", value))
                    else:
                        yield os.fsdecode(folder + entry)

    def world(self, snapshot: SnapshotId) -> World:
        """What was kept under a name.

        Raises:
            SnapshotError: it is not kept (any more).
        """
        with self._objects.reading() as objects:
            return _world(objects, snapshot)

    def check(self, snapshot: SnapshotId) -> None:
        """See that a snapshot is kept.

        Raises:
            SnapshotError: it is not (any more).
        """
        self.world(snapshot)

    def holds(self, snapshot: SnapshotId) -> bool:
        """True if `snapshot` is kept here."""
        with self._objects.reading() as objects:
            return objects.world(snapshot) is not None

    # ---- forgetting --------------------------------------------------------------------------------------------------

    def drop(self, snapshots: Sequence[SnapshotId]) -> None:
        """Forget snapshots, whoever they are kept for. Their bytes are freed from time to time."""
        with self._objects.writing() as objects:
            due = _due(objects, objects.drop(snapshots))
        if due:
            self.collect()

    def release(self, owner: str) -> None:
        """Forget the snapshots that are kept for this owner and for nobody else."""
        with self._objects.writing() as objects:
            due = _due(objects, objects.release(owner))
        if due:
            self.collect()

    def collect(self) -> int:
        """Remove the objects that no snapshot needs any more, free their bytes, and return how many they were."""
        return self._objects.collect()

    # ---- moving ------------------------------------------------------------------------------------------------------

    def export(self, snapshots: Sequence[SnapshotId], file: Path) -> None:
        """Copy snapshots into a new file of their own, for `load` on another machine.

        Raises:
            SnapshotError: one is not kept (any more) or is damaged, or the file cannot be written.
            FileExistsError: the file is there already.
        """
        if file.exists():
            raise FileExistsError(f"{file} is there already")
        beside = file.with_name(f"{file.name}.{secrets.token_hex(6)}")
        try:
            with self._objects.reading() as objects, closing(ObjectStore(beside, _reach)) as copy:
                _copy(objects, copy, {snapshot: _world(objects, snapshot).record() for snapshot in snapshots})
            os.rename(beside, file)
        finally:
            for rest in ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    os.unlink(f"{beside}{rest}")

    def load(self, file: Path) -> list[SnapshotId]:
        """Take in the snapshots of a file that `export` made, every object checked, and return their names.

        Raises:
            SnapshotError: the file is damaged or no such file; nothing was taken in.
        """
        with closing(ObjectStore(file, _reach, exported=True)) as source, source.reading() as objects:
            records = objects.worlds()
            for snapshot in records:
                _world(objects, snapshot)
            _copy(objects, self._objects, records)
        return sorted(records)

    def close(self) -> None:
        """Free the file. May be called twice."""
        self._objects.close()

    def _make_over(self, ask: Ask, objects: Objects, plan: Sequence[Operation]) -> None:
        operations, wanted, size = filled(objects, plan)
        request = {"do": "make_over", "operations": len(operations)}
        ask(request, self._parts(objects, operations, wanted), len(operations) + size)

    def _parts(self, objects: Objects, operations: bytes, contents: Sequence[bytes]) -> Iterator[bytes]:
        yield operations
        for name in contents:
            content = self._recent.get(name)
            if content is None:
                content = objects.get(name)
                if content is None or content_digest((content,)) != name:
                    raise SnapshotError("the content of a file is lost, or does not match its digest")
                self._recent.put(name, content)
            yield content

    def _own(self, snapshot: SnapshotId, record: bytes, owner: str) -> bool:
        """Keep a world that is here for an owner too; false if it is not here."""
        with self._objects.reading() as objects:
            if objects.owned(snapshot, owner):
                return True
            if objects.world(snapshot) is None:
                return False
        with self._objects.writing() as objects:
            if objects.world(snapshot) is None:
                return False  # dropped in the meantime
            objects.put_world(snapshot, record, owner)
        return True

    def _put(self, ask: Ask, seen: Look, snapshot: SnapshotId, world: World, owner: str) -> bool:
        """Keep what was seen; false if something that the agent gave before was swept since."""
        contents, larger = dict(seen.contents), seen.larger
        held = 0
        needed: set[bytes] | None = None
        with self._objects.reading() as objects:
            if world.base:
                plan = [] if world.base == world.tree else plan_of(objects, seen, world.tree, world.base)
                if plan is None:
                    return False
                needed = contents_of(plan)
                contents = {name: content for name, content in contents.items() if name in needed}
                larger = {name: size for name, size in larger.items() if name in needed}
            here = objects.sizes(larger)
        for batch in batches({name: size for name, size in larger.items() if name not in here}):
            held += sum(batch.values())
            if held > BATCH:
                with self._objects.writing() as objects:
                    objects.put(contents)
                contents, held = {}, sum(batch.values())
            contents.update(sent(ask, batch))
        referred = [each for structure in seen.structure.values() for each in references(structure)]
        named = {name for name, is_structure in referred if is_structure or needed is None} | {seen.tree}
        named |= needed or set()
        named -= seen.structure.keys() | contents.keys()
        with self._objects.writing() as objects:
            if len(objects.sizes(named)) < len(named):
                return False
            objects.put(contents)
            objects.put(seen.structure)
            objects.put_world(snapshot, world.record(), owner)
        return True


class _Recent:
    """Contents that went into a restore lately and were checked then: the next one often needs the same."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._contents: OrderedDict[bytes, bytes] = OrderedDict()
        self._size = 0

    def get(self, name: bytes) -> bytes | None:
        """A content, if it is here."""
        with self._guard:
            content = self._contents.get(name)
            if content is not None:
                self._contents.move_to_end(name)
            return content

    def put(self, name: bytes, content: bytes) -> None:
        """Hold on to a content for a while."""
        with self._guard:
            if name not in self._contents and len(content) <= PIECE:
                self._contents[name] = content
                self._size += len(content)
                while self._size > _RECENT:
                    self._size -= len(self._contents.popitem(last=False)[1])


# ---- in the store ----------------------------------------------------------------------------------------------------


def _due(objects: Objects, dropped: int) -> bool:
    """Whether to sweep: when about as many were dropped as are left, but not for a few."""
    return dropped >= _MOST_DROPPED and dropped >= objects.count


def _world(objects: Objects, snapshot: SnapshotId) -> World:
    record = objects.world(snapshot)
    if record is None:
        raise SnapshotError(f"snapshot {snapshot[:12]!r} is not kept (any more)")
    if sha256(record).hexdigest() != snapshot:
        raise SnapshotError(f"the record of snapshot {snapshot[:12]} is damaged")
    return World.of(record)


def _reach(objects: Objects, records: Iterable[bytes], needed: dict[bytes, bool]) -> None:
    """See `Reach`: true for structure, false for contents."""
    waiting: list[bytes] = []
    for record in records:
        with suppress(ValueError, KeyError, TypeError):  # it is damaged: whoever restores it is told
            world = World.of(record)
            waiting += [world.tree, world.base] if world.base else [world.tree]
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        needed[name] = True
        structure = objects.get(name)
        with suppress(ValueError):  # it is damaged, or lost
            for child, is_structure in references(structure or b""):
                if is_structure:
                    waiting.append(child)
                else:
                    needed[child] = False


def _copy(objects: Objects, store: ObjectStore, records: Mapping[SnapshotId, bytes]) -> None:
    """Copy worlds and all they need into a store, every object checked."""
    needed: dict[bytes, bool] = {}
    _reach(objects, records.values(), needed)
    based = [world for world in map(World.of, records.values()) if world.base]
    if based:
        # Of these, the image has the other contents.
        plain = dict[bytes, bool]()
        _reach(objects, [record for record in records.values() if not World.of(record).base], plain)
        for world in based:
            plain |= dict.fromkeys(contents_of(difference(world.base, world.tree, reader(objects))), False)
        needed = {name: is_structure for name, is_structure in needed.items() if is_structure or name in plain}
    with store.writing() as copy:
        for name, is_structure in needed.items():
            content = objects.get(name)
            if content is None or name != (digest(content) if is_structure else content_digest((content,))):
                raise SnapshotError("a part of a snapshot is lost or damaged")
            copy.put({name: content})
        for snapshot, record in records.items():
            copy.put_world(snapshot, record, "")
