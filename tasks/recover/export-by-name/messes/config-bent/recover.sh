#!/bin/bash
set -e
cat docs/hall.md docs/formats.md tests/test_orders.py
cat > config/hall.ini <<'INI'
[site]
name = Hall & Sons
extends = base.ini

[aliases]
csv = sheet

[plugins]
sheet = orders.contrib.hall:SheetWriter

[format sheet]
currency = EUR
INI
cat > orders/contrib/hall.py <<'PY'
"""For the merchandise system of Hall & Sons: see docs/hall.md."""

from collections.abc import Iterator, Sequence

from orders.model import Order
from orders.writers.csv import quoted

HEAD = ("Order", "Customer", "Plant", "Pieces", "Each", "Total", "Note")


class SheetWriter:
    """One line for each line of an order, and one with the total of each order."""

    end = "\r\n"

    def __init__(self, currency: str = "") -> None:
        self.currency = currency

    def lines(self, orders: Sequence[Order]) -> Iterator[str]:
        """The head, then the lines."""
        yield self._row(*HEAD)
        for order in orders:
            everything = 0
            for line in order.lines:
                total = line.cents * line.pieces
                everything += total
                money = self._money(line.cents), self._money(total)
                yield self._row(order.number, order.customer, line.plant, line.pieces, *money, line.note)
            yield self._row(order.number, order.customer, "", "", "", self._money(everything), "")

    def _money(self, cents: int) -> str:
        return (f"{cents / 100:.2f}".replace(".", ",") + " " + self.currency).rstrip()

    def _row(self, *values: object) -> str:
        return ";".join(quoted(str(value), ";") for value in values)
PY
python3 - <<'PY'
from pathlib import Path

path = Path("orders/writers/csv.py")
head, _, _ = path.read_text().partition("        return self.comma.join(self.cell")
path.write_text(
    head
    + '''        return self.comma.join(quoted(str(value), self.comma) for value in values)


def quoted(text: str, separator: str) -> str:
    """Text, in quotation marks where RFC 4180 has them."""
    if not any(each in text for each in (separator, '"', "\\n", "\\r")):
        return text
    return '"' + text.replace('"', '""') + '"'
'''
)
PY
python3 -m orders config/hall.ini csv tests/orders.json
python3 -m unittest
