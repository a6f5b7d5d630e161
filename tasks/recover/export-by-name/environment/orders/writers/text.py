"""For people."""

from collections.abc import Iterator, Sequence

from orders.model import Order


class Writer:
    """One paragraph for each order."""

    end = "\n"

    def lines(self, orders: Sequence[Order]) -> Iterator[str]:
        """The orders."""
        for order in orders:
            yield f"{order.number} {order.customer}"
            for line in order.lines:
                yield f"  {line.pieces} {line.plant} at {line.cents / 100:.2f}"
