"""Invoices: one for each billing date, for the time up to the next."""

from dataclasses import dataclass
from datetime import date

from billing.dates import next_date, schedule
from billing.split import split


@dataclass(frozen=True)
class Invoice:
    """`cents` for the days from `first` to `last`, both included, and each cost centre's part of it."""

    first: date
    last: date
    cents: int
    parts: dict


def invoices(plan, until, centres=None):
    """The invoices of all billing dates before `until`.

    Args:
        plan: the subscription.
        until: the day on which we stop.
        centres: cost centre -> weight, for the parts; without it everything is on ``main``.
    """
    centres = centres or {"main": 1}
    found = []
    for first in schedule(plan, until):
        last = date.fromordinal(next_date(plan, first).toordinal() - 1)
        found.append(Invoice(first, last, plan.cents, split(plan.cents, centres)))
    return found
