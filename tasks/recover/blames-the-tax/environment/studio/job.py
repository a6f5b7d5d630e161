"""A job: what was done for a client."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """Something that is charged: `cents` before tax, `rate` in percent."""

    what: str
    cents: int
    rate: int = 19


class Job:
    """What was done for one client. A job has a list of its own; one that is handed in is left alone."""

    def __init__(self, client: str, lines: list[Line] = []) -> None:
        self.client = client
        self.lines = lines

    def charge(self, what: str, cents: int, rate: int = 19) -> None:
        """Add a line."""
        self.lines.append(Line(what, cents, rate))

    def extend(self, lines: list[Line]) -> None:
        """Add several lines."""
        self.lines.extend(lines)

    @property
    def net(self) -> int:
        """Cents before tax."""
        return sum(line.cents for line in self.lines)
