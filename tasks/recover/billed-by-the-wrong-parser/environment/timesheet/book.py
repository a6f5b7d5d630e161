"""Reads files of entries: one per line, ``date  project  duration  note``."""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass

from timesheet.compat import BadDuration, parse_duration


class BadLine(ValueError):
    """A line is no entry."""


@dataclass(frozen=True)
class Entry:
    """Work on one project on one day."""

    day: datetime.date
    project: str
    minutes: int
    note: str = ""


def read_entries(lines: Iterable[str]) -> list[Entry]:
    """The entries in `lines`. Empty lines and those that begin with ``#`` are left out.

    Columns are separated by ``|``; the note may be missing.

    Raises:
        BadLine: a line has too few columns, or its date is none.
        BadDuration: a duration cannot be read; the message begins with the number of the line.
    """
    entries = []
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        columns = [column.strip() for column in line.split("|", 3)]
        if len(columns) < 3:
            raise BadLine(f"line {number}: need date | project | duration, got {line!r}")
        try:
            day = datetime.date.fromisoformat(columns[0])
        except ValueError:
            raise BadLine(f"line {number}: {columns[0]!r} is no date") from None
        try:
            minutes = parse_duration(columns[2])
        except BadDuration as error:
            raise BadDuration(f"line {number}: {error}") from None
        entries.append(Entry(day, columns[1], minutes, columns[3] if len(columns) > 3 else ""))
    return entries
