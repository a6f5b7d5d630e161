"""Sums of entries: a report in hours, an invoice in money."""

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal

from timesheet.book import Entry
from timesheet.durations import format_duration


def totals(entries: Iterable[Entry]) -> dict[str, int]:
    """Minutes per project, sorted by name."""
    sums: dict[str, int] = {}
    for entry in entries:
        sums[entry.project] = sums.get(entry.project, 0) + entry.minutes
    return dict(sorted(sums.items()))


def report(entries: Iterable[Entry]) -> str:
    """One line per project and one for the sum."""
    sums = totals(entries)
    width = max([len("total"), *map(len, sums)])
    lines = [f"{project:<{width}}  {format_duration(minutes):>7}" for project, minutes in sums.items()]
    lines.append(f"{'total':<{width}}  {format_duration(sum(sums.values())):>7}")
    return "\n".join(lines)


def invoice(entries: Iterable[Entry], rate: Decimal) -> dict[str, Decimal]:
    """What each project costs at `rate` per hour, to the cent, halves up."""
    cent = Decimal("0.01")
    return {
        project: (rate * minutes / 60).quantize(cent, rounding=ROUND_HALF_UP)
        for project, minutes in totals(entries).items()
    }
