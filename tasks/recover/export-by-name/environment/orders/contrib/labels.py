"""Labels for pots."""

from collections.abc import Iterator, Sequence

from orders.model import Order


class Writer:
    """One line for each plant, as often as it was ordered."""

    end = "\n"

    def lines(self, orders: Sequence[Order]) -> Iterator[str]:
        """The plants."""
        for order in orders:
            for line in order.lines:
                yield from [line.plant] * line.pieces
