import unittest
from decimal import Decimal

from billing import BadAmount, Item, Order, format_cents, make_invoice, parse_cents, percent_of, render, split


class MoneyTest(unittest.TestCase):
    def test_cents(self):
        self.assertEqual([parse_cents(text) for text in ("12.30", "7", "-0.05")], [1230, 700, -5])
        self.assertEqual([format_cents(cents) for cents in (1230, 5, -105)], ["12.30", "0.05", "-1.05"])
        with self.assertRaises(BadAmount):
            parse_cents("1.2.3")

    def test_percent(self):
        self.assertEqual([percent_of(cents, Decimal(10)) for cents in (105, 104, -105)], [11, 10, -11])


class SplitTest(unittest.TestCase):
    def test_even(self):
        self.assertEqual(split(100, [1, 1, 2]), [25, 25, 50])

    def test_nothing_to_share_by(self):
        self.assertEqual(split(0, [0, 0]), [0, 0])
        with self.assertRaises(ValueError):
            split(1, [0, 0])


class InvoiceTest(unittest.TestCase):
    def test_without_discount(self):
        invoice = make_invoice(Order("1", [Item("rope", 2, 1250), Item("book", 1, 990, Decimal(10))]))
        self.assertEqual((invoice.net, invoice.total), (3490, 3490 + 99 + 500))

    def test_total_with_discount(self):
        order = Order("2024-017", [Item("lamp", 1, 3333), Item("shade", 1, 3333), Item("cord", 1, 3333)], discount=1000)
        self.assertEqual(render(make_invoice(order)).splitlines()[-1].split(), ["total", "107.99"])


if __name__ == "__main__":
    unittest.main()
