"""Lines of a quote: as they are asked for, and with their prices."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class Line:
    """So many pieces of one article."""

    sku: str
    quantity: int

    def __post_init__(self):
        if self.quantity < 1:
            raise ValueError(f"{self.sku}: quantity must be at least 1, not {self.quantity}")


@dataclass(frozen=True)
class PricedLine:
    """A line and what it costs: `net` is `gross` less `discount`."""

    line: Line
    gross: Decimal
    percent: int
    discount: Decimal

    @property
    def net(self):
        """What is to be paid for the line, before loyalty."""
        return self.gross - self.discount
