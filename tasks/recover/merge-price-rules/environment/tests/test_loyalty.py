"""Marek, for loyalty."""

import unittest
from decimal import Decimal

from quotes import Customer, Line, make_quote, render
from quotes.catalog import articles


class LoyaltyTest(unittest.TestCase):
    def setUp(self):
        self.ada = Customer("Ada Ltd", "gold")

    def test_gold(self):
        quote = make_quote([Line("tape", 4), Line("strap", 2)], self.ada)
        self.assertEqual((quote.subtotal, quote.loyalty), (Decimal("15.50"), Decimal("0.93")))
        self.assertEqual(quote.total, Decimal("14.57"))

    def test_clearance_does_not_count(self):
        self.assertEqual(make_quote([Line("bubble", 3)], self.ada).loyalty, 0)

    def test_nobody_gets_nothing(self):
        self.assertEqual(make_quote([Line("tape", 4)]).loyalty, 0)

    def test_straps_are_sold(self):
        self.assertIn("strap", articles())

    def test_the_customer_is_greeted(self):
        first, *_, last = render(make_quote([Line("tape", 4)], self.ada)).split("\n")
        self.assertEqual((first, last), ("For Ada Ltd", "Total: 8.84 EUR"))


if __name__ == "__main__":
    unittest.main()
