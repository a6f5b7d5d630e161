"""Both branches' features work, alone and together, as the notes of the merge say."""

import unittest
from decimal import Decimal

from quotes import Customer, Line, make_quote, render
from quotes.catalog import articles, price_of
from quotes.discounts import bulk_percent
from quotes.loyalty import tier_percent


def amounts(quote):
    return [str(each) for each in (quote.subtotal, quote.loyalty, quote.total)]


class PriceRulesTest(unittest.TestCase):
    """A silver and a gold customer, and nobody."""

    def setUp(self):
        self.silver, self.gold = Customer("Bo", "silver"), Customer("Cy & Sons", "gold")

    def test_nobodys_article_is_lost(self):
        self.assertEqual(list(articles()), ["box-l", "box-s", "bubble", "pallet", "strap", "tape"])
        self.assertEqual((price_of("pallet"), price_of("strap")), (Decimal("18.40"), Decimal("3.05")))

    def test_steps_and_tiers_are_as_they_were(self):
        self.assertEqual([bulk_percent(n) for n in (9, 10, 49, 50, 500)], [0, 5, 5, 10, 10])
        self.assertEqual([tier_percent(tier) for tier in ("none", "silver", "gold")], [0, 3, 6])

    def test_the_old_name_is_gone(self):
        line = Line("tape", 3)
        self.assertEqual(line.quantity, 3)
        self.assertFalse(hasattr(line, "qty"))

    def test_bulk_alone(self):
        quote = make_quote([Line("tape", 11), Line("box-s", 50), Line("strap", 9)])
        self.assertEqual([str(each.discount) for each in quote.lines], ["1.29", "2.25", "0.00"])
        self.assertEqual(amounts(quote), ["72.26", "0.00", "72.26"])
        self.assertEqual(str(make_quote([Line("box-l", 10)]).lines[0].net), "10.92")

    def test_loyalty_alone(self):
        self.assertEqual(amounts(make_quote([Line("tape", 3), Line("box-l", 2)], self.silver)), ["9.35", "0.28", "9.07"])

    def test_loyalty_is_of_what_bulk_has_left(self):
        quote = make_quote([Line("tape", 100), Line("pallet", 10)], self.gold)
        self.assertEqual(amounts(quote), ["386.30", "23.18", "363.12"])

    def test_clearance_has_bulk_and_no_loyalty(self):
        quote = make_quote([Line("bubble", 20), Line("strap", 10)], self.silver)
        self.assertEqual(amounts(quote), ["179.07", "0.87", "178.20"])

    def test_a_quote_of_all_is_printed_as_agreed(self):
        quote = make_quote([Line("pallet", 60), Line("bubble", 10), Line("tape", 2)], self.gold)
        expected = [
            "For Cy & Sons",
            "60 x Pallet: 993.60 EUR (bulk -10%)",
            "10 x Bubble wrap, old roll: 75.05 EUR (bulk -5%)",
            "2 x Tape, 66 m: 4.70 EUR",
            "Loyalty (gold): -59.90 EUR",
            "Total: 1,013.45 EUR",
        ]
        self.assertEqual(render(quote).split("\n"), expected)

    def test_a_discount_of_nothing_and_a_customer_without_a_name_are_not_printed(self):
        self.assertEqual(render(make_quote([Line("tape", 1)])), "1 x Tape, 66 m: 2.35 EUR\nTotal: 2.35 EUR")
        text = render(make_quote([Line("bubble", 1)], self.gold))
        self.assertEqual(text, "For Cy & Sons\n1 x Bubble wrap, old roll: 7.90 EUR\nTotal: 7.90 EUR")

    def test_what_cannot_be_is_still_refused(self):
        with self.assertRaises(ValueError):
            Line("tape", 0)
        with self.assertRaises(ValueError):
            Customer("Di", "bronze")
        with self.assertRaises(KeyError):
            make_quote([Line("glue", 1)])
