"""Figures about marks; see docs/figures.md."""

from collections.abc import Sequence
from dataclasses import dataclass

import statistics


@dataclass(frozen=True)
class Figures:
    """About the marks of one term, each rounded to two digits."""

    count: int
    mean: float
    median: float
    deviation: float
    quarters: tuple[float, ...]
    usual: float


def figures(marks: Sequence[float]) -> Figures:
    """The figures of some marks.

    Raises:
        ValueError: there are none.
    """
    if not marks:
        raise ValueError("no marks")
    several = len(marks) > 1
    quarters = statistics.quantiles(marks, n=4, method="inclusive") if several else [marks[0]] * 3
    return Figures(
        count=len(marks),
        mean=round(statistics.fmean(marks), 2),
        median=round(statistics.median(marks), 2),
        deviation=round(statistics.stdev(marks), 2) if several else 0.0,
        quarters=tuple(round(each, 2) for each in quarters),
        usual=min(statistics.multimode(marks)),
    )


def trend(means: Sequence[float]) -> float:
    """How much the mean changes from term to term, rounded to two digits."""
    if len(means) < 2:
        return 0.0
    return round(statistics.linear_regression(range(len(means)), means).slope, 2)
