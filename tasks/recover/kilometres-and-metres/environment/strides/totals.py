"""Totals, as they hang in the club's house."""

from strides.club import Club, Run


def totals(club: Club, year: str) -> dict[str, int]:
    """Runner → metres in a year; those who ran nothing that was measured are left out."""
    found: dict[str, int] = {}
    for run in club.runs():
        if run.day.startswith(year) and run.length:
            found[run.runner] = found.get(run.runner, 0) + run.length
    return found


def longest(club: Club) -> Run | None:
    """The longest run of all; the earlier one of two that are as long."""
    measured = [run for run in club.runs() if run.length]
    return max(measured, key=lambda run: (run.length, -run.id), default=None)


def ranking(club: Club, year: str) -> list[str]:
    """Lines such as `1. Mona 812.4 km`, most first; one decimal, by name where two are equal."""
    order = sorted(totals(club, year).items(), key=lambda pair: (-pair[1], pair[0]))
    return [f"{place}. {runner} {length:.1f} km" for place, (runner, length) in enumerate(order, 1)]
