"""Reads the log of a day: one reading a line, ``2024-03-01T06:00 kiel temperature 41.5``; ``#`` begins a comment."""

from dataclasses import dataclass
from datetime import datetime

<<<<<<< HEAD
from telemetry.stations import unit_of
from telemetry.units import to_standard
=======
from telemetry.gaps import is_gap
from telemetry.stations import names
>>>>>>> gaps


class LogError(Exception):
    """A line that is not understood; says which."""


@dataclass(frozen=True)
class Reading:
    """What a station measured."""

    station: str
    time: datetime
    quantity: str
<<<<<<< HEAD
    value: float  # in the standard unit of the quantity
=======
    raw: float | None  # None: a gap
>>>>>>> gaps


def read_log(text):
    """The readings of a log, in the order of its lines.

    Raises:
        LogError: a line has not the right form, or an unknown station or quantity.
    """
    readings = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.partition("#")[0].strip()
        if line:
            readings.append(_reading(number, line))
    return readings


def _reading(number, line):
<<<<<<< HEAD
    try:
        time, station, quantity, raw = line.split()
        value = to_standard(quantity, float(raw), unit_of(station, quantity))
        return Reading(station, datetime.fromisoformat(time), quantity, value)
    except (KeyError, ValueError) as error:
        raise LogError(f"line {number}: {error}") from error
=======
    try:
        time, station, quantity, *rest = line.split()
        if station not in names():
            raise ValueError(f"there is no station {station!r}")
        if len(rest) > 1:
            raise ValueError(f"too much after {rest[0]!r}")
        raw = None if is_gap(rest) else float(rest[0])
        return Reading(station, datetime.fromisoformat(time), quantity, raw)
    except ValueError as error:
        raise LogError(f"line {number}: {error}") from error
>>>>>>> gaps
