"""Reads time sheets.

A line is ``person zone date time date time``, such as ``anna berlin 2023-03-26 00:00 2023-03-26 06:00``: from when to
when, as the clock on the wall shows it. A star after a time (``02:30*``) says that it is the second of two times that look
the same. ``#`` begins a comment.
"""

from dataclasses import dataclass
from datetime import datetime

from shifts.localtime import to_utc
from shifts.zones import UnknownZone, Zone, zone


class TimesheetError(ValueError):
    """A line that cannot be; says which, and why."""


@dataclass(frozen=True)
class Shift:
    """Work of a person; `start` and `end` are in UTC."""

    person: str
    zone: Zone
    start: datetime
    end: datetime

    @property
    def minutes(self):
        """How long it was."""
        return int((self.end - self.start).total_seconds()) // 60


def read_timesheet(text):
    """The shifts of a time sheet, in its order.

    Raises:
        TimesheetError: a line has not the right form, names an unknown zone or a time that the clock never shows, or a
            shift does not end after it starts.
    """
    shifts = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if words:
            try:
                shifts.append(_shift(*words))
            except (TypeError, ValueError, UnknownZone) as error:
                raise TimesheetError(f"line {number}: {error}") from error
    return shifts


def _shift(person, place, first_day, first_time, last_day, last_time):
    where = zone(place)
    start = _instant(where, first_day, first_time)
    end = _instant(where, last_day, last_time)
    if end <= start:
        raise ValueError("it does not end after it starts")
    return Shift(person, where, start, end)


def _instant(where, day, time):
    local = datetime.fromisoformat(f"{day}T{time.removesuffix('*')}")
    return to_utc(where, local, second=time.endswith("*"))
