"""How far a run is: a live bar on a terminal, plain lines in a pipe."""

from __future__ import annotations

import time

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from agentdistill.errors import printable

SECONDS = 30.0
"""Between two lines about one stage in a pipe."""


class ConsoleWatcher:
    """Shows stages as they run. Use it as a context manager, so that the terminal is left as it was."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.began = self.started = time.monotonic()
        self.stage = ""
        self.bar: TaskID | None = None
        self.done = 0
        self.total: int | None = None
        self.told = time.monotonic()
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> ConsoleWatcher:
        self.progress.start()
        return self

    def __exit__(self, *details: object) -> None:
        self.progress.stop()

    def begin(self, stage: str, total: int | None = None) -> None:
        """Show a new stage."""
        self.started = time.monotonic()
        self.stage = stage
        self.done, self.total, self.told = 0, total, self.started
        self.bar = self.progress.add_task(escape(stage), total=total, note="")

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Move the bar; in a pipe, leave a line now and then."""
        self.done += amount
        if not self.console.is_terminal and time.monotonic() - self.told > SECONDS:
            self.told = time.monotonic()
            of = f" of {self.total:,}" if self.total else ""
            line = f"{self.told - self.began:6.1f} s  {self.stage}: {self.done:,}{of} {printable(note)}".rstrip()
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)
        if self.bar is not None:
            self.progress.update(self.bar, advance=amount)
            if note:
                self.progress.update(self.bar, note=escape(printable(note)))

    def end(self, note: str = "") -> None:
        """Leave one line about the stage and how long it took."""
        if self.bar is not None:
            self.progress.remove_task(self.bar)
            self.bar = None
        now = time.monotonic()
        took = f"{now - self.started:5.1f} s"
        line = f"{now - self.began:6.1f} s  {self.stage}" + (f": {printable(note)}" if note else "")
        self.console.print(f"{line}  ({took.strip()})", highlight=False, markup=False, soft_wrap=True)
