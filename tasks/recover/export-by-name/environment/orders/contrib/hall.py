"""For the merchandise system of Hall & Sons: semicolons, decimal commas, lines ended as on Windows."""

from collections.abc import Iterator, Sequence

from orders.model import Order

HEAD = ("Order", "Customer", "Plant", "Pieces", "Each", "Total", "Note")


class SheetWriter:
    """One line for each line of an order, and one with the total of each order."""

    end = "\r\n"

    def __init__(self, currency: str = "") -> None:
        self.currency = currency

    def lines(self, orders: Sequence[Order]) -> Iterator[str]:
        """The head, then the lines."""
        yield ";".join(HEAD)
        for order in orders:
            for line in order.lines:
                each, total = self._money(line.cents), self._money(line.cents * line.pieces)
                yield self._row(order.number, order.customer, line.plant, line.pieces, each, total, line.note)
            everything = sum(line.cents * line.pieces for line in order.lines)
            yield self._row(order.number, order.customer, "", "", "", self._money(everything), "")

    def _money(self, cents: int) -> str:
        euros = f"{cents / 100:.2f}".replace(".", ",")
        return f"{euros} {self.currency}".rstrip()

    def _row(self, *values: object) -> str:
        return ";".join(self._cell(str(value)) for value in values)

    def _cell(self, text: str) -> str:
        return f'"{text}"' if ";" in text else text
