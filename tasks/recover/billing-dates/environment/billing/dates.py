"""Billing dates.

A subscriber is billed every `months` months, on the day of the month on which he signed up. In a month that has no such
day he is billed on its last day; his day does not change by that, the next longer month has it again.
"""

from dataclasses import dataclass
from datetime import date


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
    current = plan.start
    while current <= after:
        current = _months_later(current, plan.months)
    return current


def schedule(plan, until):
    """All billing dates of `plan` from its start on and before `until`."""
    dates = []
    current = plan.start
    while current < until:
        dates.append(current)
        current = _months_later(current, plan.months)
    return dates


def _months_later(day, months):
    years, month = divmod(day.month - 1 + months, 12)
    return day.replace(year=day.year + years, month=month + 1)
