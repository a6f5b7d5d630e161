"""The club's database, as docs/database.md has it."""

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

_SCHEMA = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, runner TEXT NOT NULL, day TEXT NOT NULL, kind TEXT NOT NULL, length NUMERIC, saved_at TEXT NOT NULL
);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO meta VALUES ('unit', 'metres');
"""
KINDS = ("sprint", "road", "trail", "ultra")


@dataclass(frozen=True)
class Run:
    """One run. `length` is in metres, None for a run that was not measured."""

    id: int
    runner: str
    day: str
    kind: str
    length: int | None


class Club:
    """An open database; it is made if it is not there."""

    def __init__(self, path: Path | str) -> None:
        new = not Path(path).exists()
        self.database = sqlite3.connect(path)
        if new:
            self.database.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def meta(self, key: str) -> str | None:
        """A value that the database knows about itself."""
        row = self.database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def add(self, runner: str, day: str, kind: str, length: int | None, saved_at: datetime | None = None) -> int:
        """Save a run and return its number. ValueError for a kind we do not know or a length that is none."""
        self._check(kind, length)
        saved = (saved_at or datetime.now()).isoformat(timespec="seconds")
        with self.database:
            done = self.database.execute(
                "INSERT INTO runs (runner, day, kind, length, saved_at) VALUES (?, ?, ?, ?, ?)",
                (runner, day, kind, length, saved),
            )
        return int(done.lastrowid or 0)

    def correct(self, number: int, length: int | None, saved_at: datetime | None = None) -> None:
        """Put another length in. KeyError if there is no such run."""
        saved = (saved_at or datetime.now()).isoformat(timespec="seconds")
        with self.database:
            done = self.database.execute(
                "UPDATE runs SET length = ?, saved_at = ? WHERE id = ?", (length, saved, number)
            )
        if not done.rowcount:
            raise KeyError(number)

    def runs(self) -> list[Run]:
        """All runs, by number."""
        rows = self.database.execute("SELECT id, runner, day, kind, length FROM runs ORDER BY id")
        return [Run(*row) for row in rows]

    @staticmethod
    def _check(kind: str, length: int | None) -> None:
        if kind not in KINDS:
            raise ValueError(f"no kind of run: {kind}")
        if length is not None and (not isinstance(length, int) or length <= 0):
            raise ValueError(f"a length is a whole number of metres, not {length!r}")
