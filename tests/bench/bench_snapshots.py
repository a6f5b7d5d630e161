"""What snapshots cost, next to copying the workspace: `python tests/bench/bench_snapshots.py [backend [key=value]...]`.

A workspace of 2,100 files, 49 MB, in 111 directories goes through 50 steps of which each writes 20 small files; a
snapshot is taken after each. Then any of these is restored in an open sandbox, and forked into a fresh one. The measure
is ``cp -a`` of the same tree, on the disk that the snapshots are kept on and in memory, in turn with all that is
measured, so that a busy machine bears on all alike. Medians.
"""

from __future__ import annotations

import functools
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from agentdistill.sandbox import Sandbox, SandboxFile
from agentdistill.sandbox.loading import BackendSpec, read_options

FILES, SIZE, STEPS, CHANGED, SMALL = 2100, 23_300, 50, 20, 2000
TIMES = 10
MEMORY = Path("/dev/shm")
T = TypeVar("T")


@dataclass
class Measured:
    """Seconds by row, and bytes."""

    times: dict[str, list[float]] = field(default_factory=dict)
    kept: int = 0
    """Of the snapshots, on disk."""
    needed: int = 0
    """Of all contents, each once."""

    def time(self, row: str, act: Callable[[], T]) -> T:
        """Do something and enter how long it took."""
        start = time.perf_counter()
        done = act()
        self.times.setdefault(row, []).append(time.perf_counter() - start)
        return done

    def median(self, row: str) -> float:
        """Milliseconds."""
        return statistics.median(self.times[row]) * 1e3


def measure(spec: BackendSpec, place: Path, memory: Path) -> Measured:
    """Run everything once.

    Args:
        spec: the backend.
        place: a folder on disk, for the snapshots and for copies.
        memory: a folder in memory, for copies.
    """
    luck, found = random.Random(1), Measured()
    tree = {path(number): luck.randbytes(SIZE) for number in range(FILES)}
    found.needed = FILES * SIZE
    for folder in (place, memory):
        write(folder / "tree", tree)

    def copies() -> None:
        for row, folder in (("cp -a on disk", place), ("cp -a in memory", memory)):
            command = ["cp", "-a", folder / "tree", folder / "copy"]
            found.time(row, functools.partial(subprocess.run, command, check=True))
            shutil.rmtree(folder / "copy")

    backend = spec.make(place / "snapshots")
    try:
        sandbox = backend.create()
        sandbox.upload({name: SandboxFile(content) for name, content in tree.items()})
        kept = [found.time("snapshot of all of it", sandbox.snapshot)]
        for step in range(STEPS):
            change(sandbox, luck)
            found.needed += CHANGED * SMALL
            kept.append(found.time(f"snapshot after {CHANGED} files changed", sandbox.snapshot))
            if step % (STEPS // TIMES) == 0:
                found.time("snapshot, nothing changed", sandbox.snapshot)
                copies()
        for _ in range(TIMES):
            one, other = luck.choice(kept), luck.choice(kept)
            found.time("restore of any step", functools.partial(sandbox.restore, one))
            fork = found.time("fork of any step", functools.partial(backend.create, other))
            fork.close()
            copies()
    finally:
        backend.close()
    found.kept = sum(file.stat().st_size for file in (place / "snapshots").glob("snapshots.sqlite*"))
    return found


def path(number: int) -> str:
    """Of a file of the tree."""
    return f"package_{number // 210}/part_{number // 21 % 10}/module_{number % 21}.py"


def write(folder: Path, tree: dict[str, bytes]) -> None:
    """Lay a tree."""
    for name, content in tree.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def change(sandbox: Sandbox, luck: random.Random) -> None:
    """What a step does."""
    names = [path(number) for number in luck.sample(range(FILES), CHANGED)]
    sandbox.upload({name: SandboxFile(luck.randbytes(SMALL)) for name in names})


def main() -> None:
    """Print the table."""
    name, *options = sys.argv[1:] or ["bubblewrap"]
    place, memory = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp(dir=MEMORY))
    try:
        found = measure(BackendSpec(name, read_options(options)), place, memory)
    finally:
        shutil.rmtree(place)
        shutil.rmtree(memory)
    on_disk, in_memory = found.median("cp -a on disk"), found.median("cp -a in memory")
    print(f"{name:36} {'ms':>8} {'x disk':>8} {'x memory':>8}")
    for row in found.times:
        value = found.median(row)
        print(f"{row:36} {value:8.1f} {value / on_disk:8.3f} {value / in_memory:8.3f}")
    print(f"bytes kept for {STEPS} steps: {found.kept}, {found.kept / found.needed:.3f} x contents each once")


if __name__ == "__main__":
    main()
