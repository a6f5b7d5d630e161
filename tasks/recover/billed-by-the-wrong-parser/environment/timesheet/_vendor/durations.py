"""Durations with days, hours and minutes, and fractions of them."""

import re
from decimal import ROUND_HALF_UP, Decimal

HOURS_PER_DAY = 8
_NUMBER = r"\d+(?:[.,]\d+)?"
_UNITS = re.compile(rf"(?:(?P<days>{_NUMBER})d)?(?:(?P<hours>{_NUMBER})h)?(?:(?P<minutes>\d+)m)?")
_CLOCK = re.compile(r"(?P<hours>\d+):(?P<minutes>[0-5]\d)")


class BadDuration(ValueError):
    """This is no duration."""


def parse_duration(text: str) -> int:
    """The minutes that `text` stands for, rounded half up.

    Raises:
        BadDuration: it cannot be read.
    """
    compact = "".join(text.split()).lower()
    match = _CLOCK.match(compact) or _UNITS.match(compact)
    if match is None or not match.group(0):
        raise BadDuration(f"cannot read {text!r}")
    parts = match.groupdict()
    hours = _amount(parts.get("days")) * HOURS_PER_DAY + _amount(parts["hours"])
    minutes = hours * 60 + _amount(parts["minutes"])
    return int(minutes.quantize(Decimal(1), rounding=ROUND_HALF_UP))


def _amount(text: str | None) -> Decimal:
    return Decimal((text or "0").replace(",", "."))
