"""Amounts of money: whole numbers of cents, nothing else."""

import re
from decimal import ROUND_HALF_UP, Decimal

_AMOUNT = re.compile(r"(-?)(\d+)(?:\.(\d\d))?")


class BadAmount(ValueError):
    """This is no amount."""


def parse_cents(text: str) -> int:
    """``12.30`` as 1230.

    Raises:
        BadAmount: it is none.
    """
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        raise BadAmount(f"{text!r} is no amount")
    sign, whole, cents = match.groups()
    amount = int(whole) * 100 + int(cents or 0)
    return -amount if sign else amount


def format_cents(cents: int) -> str:
    """1230 as ``12.30``."""
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02d}"


def percent_of(cents: int, percent: Decimal) -> int:
    """So many percent of an amount, to the cent; halves away from zero."""
    return int((cents * percent / 100).quantize(Decimal(1), rounding=ROUND_HALF_UP))
