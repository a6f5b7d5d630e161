"""Getting there."""

from studio.job import Line

CENTS_PER_KM = 42
DAY_CENTS = 2800


def travel(kilometres: int, days: int = 0, lines: list[Line] = []) -> list[Line]:
    """The lines for a journey: the given ones, then the way, then the days away. Whole days only, nothing for 0."""
    if kilometres:
        lines.append(Line(f"{kilometres} km by car", kilometres * CENTS_PER_KM))
    if days:
        lines.append(Line(f"{days} days away", days * DAY_CENTS))
    return lines
