"""Ines, for bulk-discounts."""

import unittest
from decimal import Decimal

from quotes import Line, make_quote, render
from quotes.catalog import articles
from quotes.discounts import bulk_percent


class BulkTest(unittest.TestCase):
    def test_steps(self):
        self.assertEqual([bulk_percent(n) for n in (1, 9, 10, 49, 50)], [0, 0, 5, 5, 10])

    def test_a_line_is_rounded_by_itself(self):
        quote = make_quote([Line("box-s", 11), Line("tape", 10)])
        self.assertEqual([each.discount for each in quote.lines], [Decimal("0.25"), Decimal("1.18")])
        self.assertEqual(quote.total, Decimal("27.02"))

    def test_pallets_are_sold(self):
        self.assertIn("pallet", articles())

    def test_the_percentage_is_printed(self):
        text = render(make_quote([Line("pallet", 10), Line("tape", 1)]))
        self.assertEqual(text, "10 x Pallet: 174.80 EUR (bulk -5%)\n1 x Tape, 66 m: 2.35 EUR\nTotal: 177.15 EUR")


if __name__ == "__main__":
    unittest.main()
