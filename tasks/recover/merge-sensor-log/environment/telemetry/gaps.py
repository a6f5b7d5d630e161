"""Gaps: where a log has a line and the station had no value."""

BROKEN = -999


def is_gap(rest):
    """Whether the rest of a log's line, split into words, is a gap: nothing, ``-``, or what a broken sensor writes."""
    if not rest or rest[0] == "-":
        return True
    return float(rest[0]) == BROKEN


def without_gaps(readings):
    """The readings that have a value."""
    return [each for each in readings if each.raw is not None]
