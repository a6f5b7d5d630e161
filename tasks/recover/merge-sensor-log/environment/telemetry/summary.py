"""Sums readings up, quantity by quantity."""

from dataclasses import dataclass

<<<<<<< HEAD
from telemetry.units import STANDARD

=======
from telemetry.gaps import without_gaps

>>>>>>> gaps

@dataclass(frozen=True)
class Summary:
    """The readings of one quantity, over all stations of a log."""

    quantity: str
    lowest: float
    mean: float
    highest: float
<<<<<<< HEAD
    unit: str
=======
    gaps: int
>>>>>>> gaps


def summarize(readings):
    """A summary for each quantity there is, sorted by its name."""
    summaries = []
    for quantity in sorted({each.quantity for each in readings}):
        of_it = [each for each in readings if each.quantity == quantity]
<<<<<<< HEAD
        values = [each.value for each in of_it]
        mean = sum(values) / len(values)
        summaries.append(Summary(quantity, min(values), mean, max(values), STANDARD[quantity]))
=======
        values = [each.raw for each in without_gaps(of_it)]
        gaps = len(of_it) - len(values)
        if values:
            summaries.append(Summary(quantity, min(values), sum(values) / len(values), max(values), gaps))
        else:
            summaries.append(Summary(quantity, None, None, None, gaps))
>>>>>>> gaps
    return summaries
