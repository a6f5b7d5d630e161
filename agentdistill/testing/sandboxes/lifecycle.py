"""Nothing is left behind: not by sandboxes that come and go, and not by a program that is interrupted or killed."""

from __future__ import annotations

import os
import secrets
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol, runtime_checkable

from agentdistill.errors import SandboxError, SandboxLostError
from agentdistill.sandbox.base import SandboxBackend
from agentdistill.testing.sandboxes.bench import Bench, Failed, refused, require
from agentdistill.testing.sandboxes.harness import Harness

CYCLES = 200
"""Sandboxes made and closed to see what they leave; fewer if they take longer than `CYCLES_SECONDS`, but for 20."""
CYCLES_SECONDS = 60.0
PATIENCE = 20.0
"""Seconds within which what belonged to a dead program must be gone, once the next one has started."""
GROWTH = 32 << 20
"""Bytes that our memory may grow by meanwhile."""


def closed_sandbox_says_so(bench: Bench) -> None:
    """A closed sandbox refuses whatever it is asked, and may be closed again."""
    sandbox = bench.sandbox()
    sandbox.write_file("f", b"x")
    sandbox.close()
    sandbox.close()
    for what, act in (
        ("running a command", lambda: sandbox.exec(["true"])),
        ("reading a file", lambda: sandbox.read_file("f")),
        ("writing a file", lambda: sandbox.write_file("f", b"")),
        ("listing files", lambda: sandbox.list_files()),
        ("a snapshot", lambda: sandbox.snapshot()),
    ):
        with refused(SandboxLostError, what):
            act()


def closed_backend_closes_its_sandboxes(bench: Bench) -> None:
    """A backend that is closed takes its open sandboxes along, makes no more, and may be closed again."""
    backend = bench.another()
    sandbox = backend.create()
    backend.close()
    backend.close()
    with refused(SandboxLostError, "running a command"):
        sandbox.exec(["true"])
    with refused(SandboxError, "another sandbox"):
        backend.create().close()


def many_threads_use_many_sandboxes(bench: Bench) -> str:
    """Sandboxes of one backend are made, used, forked and closed by several threads at once."""
    forks = bench.backend.capabilities.snapshot != "none"

    def work(number: int) -> bool:
        sandbox = bench.backend.create()
        try:
            sandbox.write_file("n", str(number).encode())
            if not forks:
                return sandbox.exec(["cat", "n"]).output == str(number)
            fork = bench.backend.create(sandbox.snapshot())
            try:
                return fork.exec(["cat", "n"]).output == str(number)
            finally:
                fork.close()
        finally:
            sandbox.close()

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, range(16)))
    require(all(results), f"{results.count(False)} of {len(results)} saw somebody else's file")
    return f"{len(results)} sandboxes in 4 threads"


def sandboxes_leave_nothing_behind(bench: Bench) -> str:
    """After many were made, used and closed, no process, descriptor, thread, mount, cgroup or folder is left.

    A backend whose sandboxes live elsewhere may have a method `leftovers` that names what this process has there.
    """
    backend = bench.another()
    mark = _mark()

    def cycle(number: int) -> None:
        sandbox = backend.create()
        sandbox.exec(f"echo x > f; (sh -c 'sleep 60; : {mark}' &)")
        if number % 10 == 0 and backend.capabilities.snapshot != "none":
            backend.drop([sandbox.snapshot()])
        sandbox.close()

    for number in range(5):
        cycle(number)
    before, began = _Residue.steady(backend), time.monotonic()
    cycles = 0
    while cycles < 20 or (cycles < CYCLES and time.monotonic() < began + CYCLES_SECONDS):
        cycle(cycles)
        cycles += 1
    left = _settled(lambda: _Residue.now(backend).beyond(before) or _processes_with(mark))
    require(not left, f"after {cycles} sandboxes: {left}")
    return f"{cycles} sandboxes, {(time.monotonic() - began) / cycles * 1000:.0f} ms each"


def backends_leave_nothing_behind(bench: Bench) -> str:
    """After a backend is closed, with sandboxes open and commands running, nothing of it is left."""
    mark = _mark()

    def cycle() -> None:
        backend = bench.spec.make(None, bench.limits)
        sandbox = backend.create()
        sandbox.exec(f"echo x > f; (sh -c 'sleep 60; : {mark}' &)")
        backend.create()
        backend.close()

    cycle()
    before = _Residue.steady(bench.backend)
    for _ in range(5):
        cycle()
    left = _settled(lambda: _Residue.now(bench.backend).beyond(before) or _processes_with(mark))
    require(not left, f"after 5 backends: {left}")
    return "5 backends"


def interrupted_program_leaves_nothing(bench: Bench) -> str:
    """Ctrl-C in the middle of a command ends it, and the program leaves nothing of its sandboxes."""
    folder = bench.folder()
    with Harness(bench, folder) as harness:
        mark = _run_for_long(harness)
        os.killpg(harness.pid, signal.SIGINT)
        harness.end()
    left = _settled(lambda: _processes_with(mark))
    require(not left, f"{len(left)} processes live on")
    _same_as_after_a_clean_end(bench, folder)
    return "ended, and nothing is left"


def killed_program_is_reaped(bench: Bench) -> str:
    """What a killed program (SIGKILL) left is gone when the next one has started; its snapshots are not."""
    folder = bench.folder()
    snapshots = bench.backend.capabilities.snapshot != "none"
    with Harness(bench, folder) as harness:
        harness.ask("write", path="f", text="kept")
        kept = harness.ask("snapshot") if snapshots else None
        mark = _run_for_long(harness)
        harness.send(signal.SIGKILL)
        harness.end()
    backend = bench.another(folder)
    sandbox = backend.create(kept)
    left = _settled(lambda: _processes_with(mark))
    require(not left, f"{len(left)} processes live on")
    require(not snapshots or sandbox.read_file("f") == b"kept", "its snapshot is lost")
    backend.close()
    _same_as_after_a_clean_end(bench, folder)
    return "its snapshot is there, and nothing else"


def living_program_is_left_alone(bench: Bench) -> None:
    """The next program in the same folder does not touch the sandboxes of one that lives."""
    folder = bench.folder()
    with Harness(bench, folder) as harness:
        harness.ask("write", path="f", text="mine")
        backend = bench.another(folder)
        backend.create().close()
        backend.close()
        said = harness.ask("run a line and wait", line="cat f")
        require(said == "mine", f"it is not what it was: {said}")


def dropped_snapshots_are_forgotten(bench: Bench) -> str:
    """Snapshots that are dropped give back the room they took, sooner or later."""
    bench.needs_snapshots()
    folder = bench.folder()
    backend = bench.another(folder)
    sandbox = backend.create()
    number, size = 150, 1 << 18
    for _ in range(number):
        sandbox.write_file("f", secrets.token_bytes(size))
        backend.drop([sandbox.snapshot()])
    taken = sum(path.lstat().st_size for path in folder.rglob("*"))
    require(taken < number * size / 2, f"{number} snapshots of {size} bytes, all dropped, take {taken} bytes")
    return f"{number} snapshots of {size >> 10} KiB, all dropped, take {taken >> 10} KiB"


@runtime_checkable
class _Elsewhere(Protocol):
    """A backend whose sandboxes are not on this machine, or not below this process."""

    def leftovers(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class _Residue:
    """What can be left behind, counted: ours only, for other programs come and go meanwhile."""

    processes: int
    descriptors: int
    threads: int
    mounts: int
    cgroups: int
    folders: int
    elsewhere: int
    memory: int

    @classmethod
    def now(cls, backend: SandboxBackend) -> _Residue:
        ours = f"{os.getpid()}-"
        places = [Path(place) for place in (tempfile.gettempdir(), "/dev/shm")]
        return cls(
            processes=len(_descendants()),
            descriptors=len(os.listdir("/proc/self/fd")),
            threads=threading.active_count(),
            mounts=Path("/proc/self/mountinfo").read_text().count("agentdistill"),
            cgroups=sum(1 for path, _, _ in os.walk("/sys/fs/cgroup") if ours in path),
            folders=sum(1 for place in places for path in place.glob("agentdistill*/**/*") if ours in path.name),
            elsewhere=len(backend.leftovers()) if isinstance(backend, _Elsewhere) else 0,
            memory=int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // GROWTH,
        )

    @classmethod
    def steady(cls, backend: SandboxBackend) -> _Residue:
        """What there is when nothing comes or goes any more: a backend may be making the next sandbox ready."""
        over = time.monotonic() + PATIENCE
        found = cls.now(backend)
        while time.monotonic() < over:
            time.sleep(0.3)
            before, found = found, cls.now(backend)
            if found == before:
                break
        return found

    def beyond(self, before: _Residue) -> str:
        """What there is more of than `before`; empty if nothing."""
        more = {each.name: getattr(self, each.name) - getattr(before, each.name) for each in fields(self)}
        more["memory"] = max(0, more["memory"] - 1)  # it may have been on the brink of the next step
        return ", ".join(f"{count} {name}" for name, count in more.items() if count > 0)


def _descendants() -> set[int]:
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    parents.setdefault(int(file.read().rpartition(")")[2].split()[1]), []).append(int(name))
            except OSError:
                continue
    found: set[int] = set()
    below = [os.getpid()]
    while below:
        children = parents.get(below.pop(), [])
        found.update(children)
        below += children
    return found


def _mark() -> str:
    return f"mark-{secrets.token_hex(8)}"


def _processes_with(mark: str) -> list[str]:
    """Processes, in sandboxes too, with `mark` in their command line."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if mark.encode() in Path("/proc", name, "cmdline").read_bytes():
                    found.append(name)
            except OSError:
                continue
    return found


def _run_for_long(harness: Harness) -> str:
    """Have a command run that would go on for minutes; returns a mark that its command line bears."""
    mark = _mark()
    harness.ask("run a line", line=f": {mark}; sh -c 'sleep 600; : {mark}' & sleep 600")
    over = time.monotonic() + PATIENCE
    while not _processes_with(mark):
        if time.monotonic() > over:
            raise Failed("nothing is shown: the command is not seen among the processes of this machine")
        time.sleep(0.05)
    return mark


def _settled(look: Callable[[], str | list[str]]) -> str | list[str]:
    """What is found when nothing more goes away: at once if it is nothing, or after some patience."""
    over = time.monotonic() + PATIENCE
    while (found := look()) and time.monotonic() < over:
        time.sleep(0.1)
    return found


def _same_as_after_a_clean_end(bench: Bench, folder: Path) -> None:
    """What lies in a folder is what lies in one whose backend ended well, but for the snapshots."""
    clean = bench.folder()
    backend = bench.another(clean)
    backend.create().close()
    backend.close()
    last = bench.another(folder)
    last.create().close()
    last.close()
    left = _settled(lambda: sorted(_things_in(folder) - _things_in(clean)))
    require(not left, f"its folder still holds {left[:3]}")


def _things_in(folder: Path) -> set[str]:
    found = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    return {path for path in found if not path.startswith("snapshots")}
