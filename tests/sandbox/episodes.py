"""Many short episodes at a time, and what this process holds before and after."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path


def in_eights(count: int, episode: Callable[[int], None]) -> list[str]:
    """Run episodes by number, eight at a time; what went wrong."""
    numbers, lock, problems = iter(range(count)), threading.Lock(), list[str]()

    def work() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            try:
                episode(number)
            except Exception as error:  # noqa: BLE001 - told, whatever it is
                problems.append(f"episode {number}: {error!r}")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return problems


def open_files() -> int:
    """Descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


def mounts() -> int:
    """Mounts that this process sees."""
    return Path("/proc/mounts").read_text().count("\n")


def resident() -> int:
    """Bytes of memory that we hold."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
