#!/bin/bash
# What the dates should be stands in the task and half of the docstring; who gets the odd cents was lost with split.py, and
# is in docs/bookkeeping.md.
set -e
cat docs/bookkeeping.md
cat > billing/dates.py <<'END'
"""Billing dates.

A subscriber is billed every `months` months, on the day of the month on which he signed up. In a month that has no such
day he is billed on its last day; his day does not change by that, the next longer month has it again.
"""

from calendar import monthrange
from dataclasses import dataclass
from datetime import date
from itertools import count, takewhile


@dataclass(frozen=True)
class Plan:
    """A subscription: since when, how many months one payment is for, and what it costs in cents."""

    start: date
    months: int
    cents: int

    def __post_init__(self):
        if self.months < 1:
            raise ValueError(f"a plan is paid for at least one month, not {self.months}")


def next_date(plan, after):
    """The first billing date of `plan` that is later than `after`. The start is a billing date itself."""
    return next(each for each in _dates(plan) if each > after)


def schedule(plan, until):
    """All billing dates of `plan` from its start on and before `until`."""
    return list(takewhile(lambda each: each < until, _dates(plan)))


def _dates(plan):
    for number in count():
        years, month = divmod(plan.start.month - 1 + number * plan.months, 12)
        year, month = plan.start.year + years, month + 1
        yield date(year, month, min(plan.start.day, monthrange(year, month)[1]))
END
cat > billing/split.py <<'END'
"""Sharing an amount of money."""


def split(cents, weights):
    """Share `cents` among cost centres by their weights, as docs/bookkeeping.md has it; the parts add up to `cents`.

    Raises:
        ValueError: there is no weight above 0.
    """
    total = sum(weights.values())
    if total <= 0:
        raise ValueError("nobody to share with: no weight is above 0")
    sign = -1 if cents < 0 else 1
    shares = {name: divmod(abs(cents) * weight, total) for name, weight in weights.items()}
    left = abs(cents) - sum(whole for whole, _ in shares.values())
    first = sorted(shares, key=lambda name: (-shares[name][1], name))[:left]
    return {name: sign * (whole + (name in first)) for name, (whole, _) in shares.items()}
END
sed -i 's/sum(split(1000, {"shop": 1, "office": 4}).values()), 1000)/split(1000, {"shop": 1, "office": 4}), {"shop": 200, "office": 800})/' tests/test_billing.py
python3 -m unittest
