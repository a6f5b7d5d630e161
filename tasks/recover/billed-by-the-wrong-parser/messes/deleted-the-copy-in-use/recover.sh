#!/bin/bash
set -e
cat docs/durations.md
cat > timesheet/durations.py <<'PYTHON'
"""Durations as people write them, in days, hours and minutes; see docs/durations.md."""

import re
from decimal import ROUND_HALF_UP, Decimal

HOURS_PER_DAY = 8
_NUMBER = r"\d+(?:[.,]\d+)?"
_CLOCK = re.compile(r"(?P<hours>\d+):(?P<minutes>[0-5]\d)")
_UNITS = re.compile(
    rf"(?:(?P<days>{_NUMBER})d)?(?:(?P<hours>{_NUMBER})h)?(?:(?P<minutes>\d+)m|(?<=h)(?P<bare>[0-5]?\d))?"
)


class BadDuration(ValueError):
    """This is no duration."""


def parse_duration(text: str) -> int:
    """The minutes that `text` stands for, rounded half up.

    Raises:
        BadDuration: it cannot be read to its end.
    """
    compact = "".join(text.split()).lower()
    match = _CLOCK.fullmatch(compact) or _UNITS.fullmatch(compact)
    if not compact or match is None:
        raise BadDuration(f"cannot read {text!r}")
    parts = match.groupdict()
    hours = _amount(parts.get("days")) * HOURS_PER_DAY + _amount(parts["hours"])
    minutes = hours * 60 + _amount(parts["minutes"] or parts.get("bare"))
    return int(minutes.quantize(Decimal(1), rounding=ROUND_HALF_UP))


def format_duration(minutes: int) -> str:
    """Minutes as hours and two digits of minutes, as in ``1:05``."""
    return f"{minutes // 60}:{minutes % 60:02d}"


def _amount(text: str | None) -> Decimal:
    return Decimal((text or "0").replace(",", "."))
PYTHON
python3 -m timesheet report hours.txt
python3 -m unittest
