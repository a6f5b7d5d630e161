"""Comma-separated: for spreadsheets set to English."""

from collections.abc import Iterator, Sequence

from orders.model import Order

HEAD = ("order", "customer", "plant", "pieces", "price", "note")


class Writer:
    """One line for each line of an order."""

    end = "\n"

    def __init__(self, comma: str = ",") -> None:
        self.comma = comma

    def lines(self, orders: Sequence[Order]) -> Iterator[str]:
        """The head, then the lines."""
        yield self.comma.join(HEAD)
        for order in orders:
            for line in order.lines:
                price = f"{line.cents / 100:.2f}"
                yield self.row(order.number, order.customer, line.plant, line.pieces, price, line.note)

    def row(self, *values: object) -> str:
        """Values as one line."""
        return self.comma.join(self.cell(str(value)) for value in values)

    def cell(self, text: str) -> str:
        """Text in quotes if it has a comma in it."""
        return f'"{text}"' if self.comma in text else text
