"""How often the limits of the control group that this sandbox is in were met, where the sandbox can see it itself."""

import os

_WORDS = {"memory": b"oom_kill", "processes": b"max"}


class Counters:
    """The counters of one group; opened at once, before the first command runs.

    Args:
        places: for ``memory`` and ``processes``, the paths where the kernel may show the counter, of which the first
            that is there counts.
    """

    def __init__(self, places: "dict[str, list[str]]") -> None:
        self._open: list[tuple[str, int]] = []
        for limit, paths in places.items():
            for path in paths:
                try:
                    self._open.append((limit, os.open(path, os.O_RDONLY | os.O_CLOEXEC)))
                    break
                except OSError:
                    continue
        self._last = [self._read(*each) for each in self._open]

    def met(self) -> str:
        """The limit that was met since the last call; empty if none was."""
        found = ""
        for index, (limit, number) in enumerate(self._open):
            count = self._read(limit, number)
            if count > self._last[index]:
                found = found or limit
            self._last[index] = count
        return found

    def _read(self, limit: str, number: int) -> int:
        for line in os.pread(number, 4096, 0).splitlines():
            word, _, count = line.partition(b" ")
            if word == _WORDS[limit]:
                return int(count)
        return 0
