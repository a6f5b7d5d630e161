"""Limits that hold for a whole sandbox: control groups of memory, processes and processor time, version 1 or 2.

Each owner (a backend) has one group below the group of its own process, so that limits set on us from outside go on
holding, and one group in it for every sandbox. The owner holds a lock on its group, which the kernel lets go however
the owner ends: a group that is not locked is one of a dead owner, and whoever looks may remove it, whichever group it
lies in. The process put into a group takes everything it starts along; put it there before it runs a stranger's code.

Memory counts the files of a sandbox's own tmpfs mounts and what the kernel keeps for them, never swap. What this does
not limit: disk and network traffic, the cache of memory shared with others, the processor time the kernel spends on our
behalf elsewhere. Where groups cannot be made, `ControlGroups.missing` says which limit is not held, and why.

Version 2 forbids processes beside groups. A process that systemd started with a delegated group (``systemd-run --user
--scope -p Delegate=yes``), or that owns its group otherwise, moves aside into a group of its own.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import secrets
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CONTROLLERS: Mapping[str, str] = {"memory": "memory_bytes", "pids": "processes", "cpu": "cpus"}
"""Controller → the field of `Limits` it enforces."""
_OWNED = "agentdistill-sandboxes-"
_ASIDE = "agentdistill-itself"
_PERIOD = 100_000  # microseconds in which a group gets its share of the processors, as the kernel has it
_LITTLE = 4 << 20  # bytes that the kernel may keep for the files that were looked at
_PATIENCE = 5.0  # seconds for the processes of a group to be gone once they are killed


@dataclass(frozen=True)
class Met:
    """How often the limits of a group were met since it was made."""

    killed_for_memory: int = 0
    forks_refused: int = 0


@dataclass(frozen=True)
class _Hierarchy:
    """A tree of groups that some of the controllers are in, and our own place in it."""

    root: Path
    ours: Path
    version: int
    controllers: frozenset[str]


@dataclass(frozen=True)
class _Owned:
    """A group that belongs to one owner, and the lock that says the owner lives."""

    path: Path
    lock: int
    version: int
    controllers: frozenset[str]


class Group:
    """The control groups of one sandbox, one in each hierarchy. Made by `ControlGroups.create`."""

    def __init__(self, paths: Mapping[Path, _Owned], memory_bytes: int) -> None:
        self._paths = paths
        self._little = min(_LITTLE, memory_bytes // 64)
        self._memory: Path | None = None
        self._pids: Path | None = None
        for path, owned in paths.items():
            if "memory" in owned.controllers:
                self._memory = path / ("memory.events" if owned.version == 2 else "memory.oom_control")
            if "pids" in owned.controllers:
                self._pids = path / "pids.events"

    def admit(self, pid: int) -> None:
        """Put a process in, by its number in our own PID namespace. What it started before stays outside.

        Takes some milliseconds, in which the kernel waits for itself and the process runs on.

        Raises:
            ProcessLookupError: it is dead.
            OSError: the kernel refuses.
        """
        for path in self._paths:
            (path / "cgroup.procs").write_text(str(pid))

    def met(self) -> Met:
        """The counters as they stand."""
        return Met(_counter(self._memory, "oom_kill"), _counter(self._pids, "max"))

    def spare(self) -> bool:
        """Whether it may hold another sandbox: nobody is in it, and hardly any memory is counted for it."""
        try:
            if any((path / "cgroup.procs").read_text() for path in self._paths):
                return False
            for path, owned in self._paths.items():
                if "memory" in owned.controllers:
                    used = path / ("memory.current" if owned.version == 2 else "memory.usage_in_bytes")
                    return int(used.read_text()) <= self._little
        except OSError:  # somebody has removed it
            return False
        return True

    def remove(self) -> None:
        """Kill what is still in it and remove it. May be called twice.

        Raises:
            TimeoutError: a process in it does not die; the next owner to start tries again.
        """
        for path in self._paths:
            _remove(path)


class ControlGroups:
    """Makes the groups of one owner's sandboxes. What a dead owner left anywhere is removed at the start.

    Args:
        parent: make them below this group, a path in every hierarchy, and not below our own. In version 2 its
            ``cgroup.subtree_control`` must name the controllers.
    """

    def __init__(self, parent: str | None = None) -> None:
        self.missing: dict[str, str] = {}
        """Limits that no group can hold here, by their names in `Limits` → why."""
        self._owned: list[_Owned] = []
        self._numbers = itertools.count(1)
        reap()
        hierarchies = _hierarchies()
        found = frozenset(name for hierarchy in hierarchies for name in hierarchy.controllers)
        for name in CONTROLLERS.keys() - found:
            self.missing[CONTROLLERS[name]] = f"the kernel offers no control group for {name}"
        for hierarchy in hierarchies:
            self._settle(hierarchy, parent)

    @property
    def limits(self) -> frozenset[str]:
        """The limits that hold, by their names in `Limits`."""
        return frozenset(CONTROLLERS.values()) - self.missing.keys()

    def create(self, *, memory_bytes: int, processes: int, cpus: float) -> Group:
        """A group for one sandbox, with those of the limits that can be had here.

        Args:
            memory_bytes: all memory of its processes, files in memory included; swap is not used beyond it.
            processes: processes and threads together.
            cpus: processors' worth of time.

        Raises:
            OSError: the kernel refuses.
        """
        name = f"{next(self._numbers)}"
        paths = {owned.path / name: owned for owned in self._owned}
        group = Group(paths, memory_bytes)
        try:
            for path, owned in paths.items():
                path.mkdir()
                for file, value in _settings(owned, memory_bytes, processes, cpus):
                    (path / file).write_text(value)
                if owned.version == 1 and "memory" in owned.controllers:
                    # It cannot be below the limit of memory alone, so it comes after it; absent without swap accounts.
                    with suppress(FileNotFoundError, PermissionError):
                        (path / "memory.memsw.limit_in_bytes").write_text(str(memory_bytes))
                elif "memory" in owned.controllers:
                    with suppress(FileNotFoundError, PermissionError):
                        (path / "memory.swap.max").write_text("0")
        except BaseException:
            group.remove()
            raise
        return group

    def close(self) -> None:
        """Remove all groups that are left, with the processes in them. May be called twice."""
        for owned in self._owned:
            try:
                _remove_tree(owned.path)
            finally:
                os.close(owned.lock)
        self._owned = []

    def _settle(self, hierarchy: _Hierarchy, parent: str | None) -> None:
        controllers = hierarchy.controllers
        try:
            if parent is not None:
                place = hierarchy.root / parent.lstrip("/")
            elif hierarchy.version == 2:
                place = _place(hierarchy)
            else:
                place = hierarchy.ours
            if hierarchy.version == 2:
                controllers &= _words(place / "cgroup.subtree_control")
            owned = _own(place, hierarchy.version, controllers)
        except OSError as error:
            for name in hierarchy.controllers:
                self.missing[CONTROLLERS[name]] = f"no control group for {name} can be made: {error.strerror or error}"
            return
        self._owned.append(owned)
        for name in hierarchy.controllers - controllers:
            self.missing[CONTROLLERS[name]] = f"{place} does not pass its control of {name} on"
        if hierarchy.version == 2 and controllers:
            try:
                (owned.path / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in sorted(controllers)))
            except OSError as error:
                for name in controllers:
                    self.missing[CONTROLLERS[name]] = (
                        f"{place} does not pass its control of {name} on: {error.strerror}"
                    )


def reap() -> list[Path]:
    """Remove the groups of dead owners, with whatever still runs in them, wherever they are; returns those gone."""
    reaped = []
    for hierarchy in _hierarchies():
        for path in list(_below(hierarchy.root)):
            if hierarchy.ours.is_relative_to(path):
                continue
            with suppress(OSError):  # not ours to remove, or somebody else is at it
                lock = _lock(path)
                if lock is None:
                    continue
                try:
                    _remove_tree(path)
                    reaped.append(path)
                finally:
                    os.close(lock)
    return reaped


def _hierarchies() -> list[_Hierarchy]:
    """Where each controller we use can be reached: version 1 has a tree for each, version 2 one for those left over."""
    try:
        own = Path("/proc/self/cgroup").read_text().splitlines()
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return []
    found: list[_Hierarchy] = []
    taken: set[str] = set()
    for line in mounts:
        before, _, after = line.partition(" - ")
        inside, place = (_unescaped(field) for field in before.split(" ")[3:5])
        kind, _, options = after.split(" ")[:3]
        if kind == "cgroup":
            controllers = CONTROLLERS.keys() & options.split(",")
        elif kind == "cgroup2":
            controllers = CONTROLLERS.keys() & _words(Path(place, "cgroup.controllers"))
        else:
            continue
        # The same tree may be mounted twice.
        controllers -= taken
        if not controllers:
            continue
        path = _own_path(own, "" if kind == "cgroup2" else sorted(controllers)[0])
        if path is None or not Path(path).is_relative_to(inside):
            continue  # mounted for somebody else: our own group is not in there
        taken |= controllers
        ours = Path(place, Path(path).relative_to(inside))
        found.append(_Hierarchy(Path(place), ours, 2 if kind == "cgroup2" else 1, frozenset(controllers)))
    return found


def _own_path(lines: list[str], controller: str) -> str | None:
    """Our group as the kernel tells it, in the hierarchy of `controller`, or in that of version 2 if it is empty."""
    for line in lines:
        _, names, path = line.split(":", 2)
        if controller in names.split(",") and "/.." not in path:
            return path
    return None


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _words(path: Path) -> frozenset[str]:
    try:
        return frozenset(path.read_text().split())
    except OSError:
        return frozenset()


def _place(hierarchy: _Hierarchy) -> Path:
    """A group of version 2 that may have groups in it which control something.

    Raises:
        OSError: there is none that we may use.
    """
    ours = hierarchy.ours
    wanted = hierarchy.controllers
    if not (ours / "cgroup.type").exists():  # the root of the machine: the one group that may have both
        _enable(ours, wanted)
        return ours
    if _words(ours / "cgroup.subtree_control") & wanted:
        return ours
    above = ours.parent
    if ours.name == _ASIDE and _words(above / "cgroup.subtree_control") & wanted:
        return above
    if _delegated(ours, hierarchy.root):
        aside = ours / _ASIDE
        aside.mkdir(exist_ok=True)
        # Whoever is started meanwhile is found in the next turn.
        while inhabitants := _words(ours / "cgroup.procs"):
            for pid in inhabitants:
                with suppress(ProcessLookupError):
                    (aside / "cgroup.procs").write_text(pid)
        _enable(ours, wanted)
        return ours
    if above.is_relative_to(hierarchy.root) and os.access(above / "cgroup.procs", os.W_OK):
        if not wanted <= _words(above / "cgroup.subtree_control"):
            with suppress(OSError):
                _enable(above, wanted)
        if _words(above / "cgroup.subtree_control") & wanted:
            return above
    raise PermissionError(f"{ours} is not delegated; start with `systemd-run --user --scope -p Delegate=yes ...`")


def _delegated(group: Path, root: Path) -> bool:
    """True if whoever made the group left it to us: systemd says so, it is ours, or it is all we see of the tree."""
    for name in ("trusted.delegate", "user.delegate"):
        with suppress(OSError):
            if os.getxattr(group, name) == b"1":
                return os.access(group / "cgroup.procs", os.W_OK)
    if os.getuid() != 0:
        return group.stat().st_uid == os.getuid()
    return group == root and os.access(group / "cgroup.procs", os.W_OK)


def _enable(group: Path, controllers: frozenset[str]) -> None:
    for name in controllers & _words(group / "cgroup.controllers"):
        (group / "cgroup.subtree_control").write_text(f"+{name}")


def _own(place: Path, version: int, controllers: frozenset[str]) -> _Owned:
    """A new group of ours at `place`, locked. Another process may take it for a dead one before it is: then again."""
    while True:
        path = place / f"{_OWNED}{os.getpid()}-{secrets.token_hex(4)}"
        path.mkdir()
        lock = _lock(path)
        if lock is not None:
            return _Owned(path, lock, version, controllers)


def _lock(path: Path) -> int | None:
    """The descriptor of a group that we hold the lock of from now on; `None` if somebody else does, or it is gone."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), os.stat(path)):
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(lock)
        raise
    os.close(lock)
    return None


def _settings(owned: _Owned, memory_bytes: int, processes: int, cpus: float) -> Iterator[tuple[str, str]]:
    quota = max(1_000, round(cpus * _PERIOD))
    second = owned.version == 2
    if "memory" in owned.controllers:
        yield ("memory.max" if second else "memory.limit_in_bytes"), str(memory_bytes)
    if "pids" in owned.controllers:
        yield "pids.max", str(processes)
    if "cpu" in owned.controllers:
        yield ("cpu.max", f"{quota} {_PERIOD}") if second else ("cpu.cfs_quota_us", str(quota))


def _counter(file: Path | None, name: str) -> int:
    if file is None:
        return 0
    try:
        for line in file.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    except FileNotFoundError:
        pass
    return 0


def _below(folder: Path) -> Iterator[Path]:
    """The owners' groups below a group. One that vanishes meanwhile is passed over."""
    try:
        with os.scandir(folder) as entries:
            folders = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for entry in folders:
        if entry.name.startswith(_OWNED):
            yield Path(entry.path)
        else:
            yield from _below(Path(entry.path))


def _remove_tree(path: Path) -> None:
    with suppress(FileNotFoundError):
        for entry in list(os.scandir(path)):
            if entry.is_dir(follow_symlinks=False):
                _remove_tree(Path(entry.path))
    _remove(path)


def _remove(path: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    pause = 0.001
    while True:
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"processes in {path} do not die") from error
            # Those that are killed already need a moment; none but ours and strangers' can be in there.
            _kill(path)
            time.sleep(pause)
            pause = min(2 * pause, 0.05)
        else:
            return


def _kill(path: Path) -> None:
    for text in _words(path / "cgroup.procs") - {"0"}:  # 0 is a process that our PID namespace does not have
        with suppress(ProcessLookupError):
            pid = os.pidfd_open(int(text))
            try:
                # Looked at again with the process held: the number may have become somebody else's.
                if text in _words(path / "cgroup.procs"):
                    signal.pidfd_send_signal(pid, signal.SIGKILL)
            finally:
                os.close(pid)
