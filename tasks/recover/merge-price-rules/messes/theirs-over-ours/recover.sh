#!/bin/bash
# Nothing is left of our side but the notes: steps, rounding, fields, the printed form. The price of a pallet is known from
# the list that sales was given.
set -e
cat MERGE_NOTES.md PRICES.md
cat >> quotes/catalog.ini <<'END'

[pallet]
title = Pallet
price = 18.40
END
cat > quotes/lines.py <<'END'
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
END
cat > quotes/discounts.py <<'END'
"""Bulk discounts: more of one article is cheaper."""

from quotes.catalog import price_of
from quotes.lines import PricedLine
from quotes.money import percent_of

# From so many pieces on, so many per cent off; the largest step first.
STEPS = ((50, 10), (10, 5))


def bulk_percent(quantity):
    """The discount on a line of `quantity` pieces, in per cent."""
    return next((percent for pieces, percent in STEPS if quantity >= pieces), 0)


def priced(line):
    """The line with its price and its bulk discount, which is rounded by itself."""
    gross = price_of(line.sku) * line.quantity
    percent = bulk_percent(line.quantity)
    return PricedLine(line, gross, percent, percent_of(gross, percent))
END
python3 - <<'END'
from pathlib import Path


def change(name, *pairs):
    path = Path(name)
    text = path.read_text()
    for old, new in pairs:
        assert text.count(old) == 1, (name, old)
        text = text.replace(old, new)
    path.write_text(text)


change(
    "quotes/loyalty.py",
    (
        "sum((price_of(line.sku) * line.quantity for line in lines if not is_clearance(line.sku)), ZERO)",
        "sum((each.net for each in lines if not is_clearance(each.line.sku)), ZERO)",
    ),
    ("import is_clearance, price_of", "import is_clearance"),
)
change(
    "quotes/quote.py",
    ("from quotes.catalog import price_of\nfrom quotes.lines import Line\n",
     "from quotes.discounts import priced\nfrom quotes.lines import PricedLine\n"),
    ("lines: tuple[Line, ...]", "lines: tuple[PricedLine, ...]"),
    ("Price the lines, give the", "Price the lines, give bulk discounts and then the"),
    ("    lines = tuple(lines)\n", "    lines = tuple(priced(line) for line in lines)\n"),
    ("(price_of(line.sku) * line.quantity for line in lines)", "(line.net for line in lines)"),
)
change(
    "quotes/render.py",
    (
        '''    for line in quote.lines:
        rows.append(f"{line.quantity} x {title_of(line.sku)}")
''',
        '''    for each in quote.lines:
        row = f"{each.line.quantity} x {title_of(each.line.sku)}: {euros(each.net)}"
        if each.percent:
            row += f" (bulk -{each.percent}%)"
        rows.append(row)
''',
    ),
)
END
cat > tests/test_bulk.py <<'END'
"""For bulk-discounts, rebuilt from the notes of the merge."""

import unittest

from quotes import Line, make_quote
from quotes.catalog import articles
from quotes.discounts import bulk_percent


class BulkTest(unittest.TestCase):
    def test_steps(self):
        self.assertEqual([bulk_percent(n) for n in (1, 9, 10, 49, 50)], [0, 0, 5, 5, 10])

    def test_a_line_is_rounded_by_itself(self):
        quote = make_quote([Line("box-s", 11), Line("tape", 10)])
        self.assertEqual([str(each.discount) for each in quote.lines], ["0.25", "1.18"])

    def test_pallets_are_sold(self):
        self.assertIn("pallet", articles())


if __name__ == "__main__":
    unittest.main()
END
python3 -m unittest
