"""Contenders in processes of their own, which work one lap at a time, in turn: for benchmarks of time and of memory.

A contender is a function that first prepares what it needs, then calls `Track.lap` after each piece of its work. It
stands still there until its next turn, so that a busy machine bears on all alike. Its memory is that of its process,
the high-water mark of which is set back at the start of each lap (Linux with glibc only).
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

THREADS = int(os.environ.get("THREADS", "1"))
GIB = 2**30


@dataclass(frozen=True)
class Lap:
    """What one lap took: seconds on the clock, seconds of all cores together, and bytes of memory.

    `before` is what the process held when the lap began, `peak` the most it held during it; `said` is whatever the
    contender has to say of the lap.
    """

    seconds: float
    cpu: float
    before: int
    peak: int
    said: Any


class Track:
    """The contender's side: where it waits for its turn."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._before = 0
        self._began = (0.0, 0.0)

    def start(self) -> Any:
        """Wait for the first turn; returns what the contender is asked for in it."""
        self._pipe.send(None)
        return self._wait()

    def lap(self, said: Any = None) -> Any:
        """End a lap and wait for the next turn; returns what the contender is asked for in that."""
        seconds, cpu = time.perf_counter() - self._began[0], time.process_time() - self._began[1]
        self._pipe.send(Lap(seconds, cpu, self._before, memory("VmHWM"), said))
        return self._wait()

    def _wait(self) -> Any:
        try:
            asked = self._pipe.recv()
        except EOFError:
            sys.exit()  # nobody wants another lap
        ctypes.CDLL(None).malloc_trim(0)  # what is free but kept would count as held before, and hide what a lap needs
        Path("/proc/self/clear_refs").write_text("5")
        self._before = memory("VmRSS")
        self._began = (time.perf_counter(), time.process_time())
        return asked


class Contender:
    """The benchmark's side: a process, ready for its first lap once `ready` has returned."""

    def __init__(self, work: Callable[..., None], *arguments: Any) -> None:
        processes = multiprocessing.get_context("spawn")
        self._pipe, theirs = processes.Pipe()
        self._process = processes.Process(target=_run, args=(theirs, work, arguments), daemon=True)
        self._process.start()
        theirs.close()

    def ready(self) -> None:
        """Wait until it is."""
        self._pipe.recv()

    def lap(self, asked: Any = None) -> Lap:
        """Let it work for one lap."""
        self._pipe.send(asked)
        lap: Lap = self._pipe.recv()
        return lap

    def close(self) -> None:
        """End it."""
        self._pipe.close()
        self._process.join()


def memory(name: str) -> int:
    """A figure of this process in bytes: VmRSS is what it holds now, VmHWM the most it has held."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name + ":"))
    return int(line.split()[1]) * 1024


class Race:
    """Contenders by their names, each a function and its arguments."""

    def __init__(self, contenders: Mapping[str, tuple[Any, ...]]) -> None:
        self._contenders = contenders
        self._running: dict[str, Contender] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Race:
        for name, (work, *arguments) in self._contenders.items():
            self._running[name] = Contender(work, *arguments)
            self._stack.callback(self._running[name].close)
            self._running[name].ready()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def laps(self, names: Iterable[str], rounds: int, asked: Any = None) -> dict[str, list[Lap]]:
        """So many laps of each of these, in turn."""
        laps: dict[str, list[Lap]] = {name: [] for name in names}
        for number in range(1, rounds + 1):
            for name, each in laps.items():
                each.append(self._running[name].lap(asked))
                print(f"{number}/{rounds} {name}: {each[-1].cpu:.2f} CPU-s", file=sys.stderr, flush=True)
        return laps


def ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """The median of `values` over that of `others`."""
    return statistics.median(values) / statistics.median(others)


def _run(pipe: Connection, work: Callable[..., None], arguments: Sequence[Any]) -> None:
    warnings.simplefilter("ignore")
    os.environ |= {"TQDM_DISABLE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
    torch.set_num_threads(THREADS)
    work(Track(pipe), *arguments)
