"""Lines, tax table and total of an invoice agree to the cent, and a split is what its docstring promises."""

import random
import unittest
from decimal import ROUND_HALF_UP, Decimal

from billing import Item, Order, make_invoice, percent_of, render, split


def share(amount, weights):
    """The split that the docstring describes, worked out with whole numbers only."""
    total = abs(sum(weights))
    exact = [abs(amount) * abs(weight) for weight in weights]
    parts = [each // total for each in exact]
    order = sorted(range(len(weights)), key=lambda place: (-(exact[place] % total), place))
    for place in order[: abs(amount) - sum(parts)]:
        parts[place] += 1
    return [-part for part in parts] if amount < 0 else parts


def tax_on(base, rate):
    """The tax on an amount that is not negative: to the cent, halves up."""
    return int((base * rate / 100).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def figures(invoice):
    """All of an invoice as plain values."""
    nets = [line.net for line in invoice.lines]
    rows = [(row.rate, row.base, row.tax) for row in invoice.taxes]
    return nets, rows, invoice.net, invoice.total


class SplitTest(unittest.TestCase):
    def test_the_parts_are_the_amount_again(self):
        rng = random.Random(5)
        for _ in range(60):
            weights = [rng.randrange(0, 4000) for _ in range(rng.randrange(1, 9))] + [1]
            amount = rng.randrange(-5000, 5000)
            with self.subTest(amount=amount, weights=weights):
                self.assertEqual(split(amount, weights), share(amount, weights))

    def test_cents_left_over_go_to_those_that_lost_most_and_then_to_the_first(self):
        self.assertEqual(split(1000, [1, 1, 1]), [334, 333, 333])
        self.assertEqual(split(2, [1, 1, 1, 1]), [1, 1, 0, 0])
        self.assertEqual(split(10, [1, 2, 4]), [1, 3, 6])
        self.assertEqual(split(1, [0, 5, 5]), [0, 1, 0])

    def test_signs(self):
        self.assertEqual(split(-1000, [1, 1, 1]), [-334, -333, -333])
        self.assertEqual(split(1000, [-1, -1, -1]), [334, 333, 333])
        self.assertEqual(split(-10, [-1, -2, -4]), [-1, -3, -6])

    def test_amounts_too_large_for_floats(self):
        weights = [10**17 + 1, 10**17, 3]
        self.assertEqual(split(10**17 + 7, weights), share(10**17 + 7, weights))

    def test_what_is_refused_still_is(self):
        for amount, weights in ((1, [0, 0]), (5, [1, -1]), (1, [])):
            with self.subTest(weights), self.assertRaises(ValueError):
                split(amount, weights)
        self.assertEqual(split(0, [0, 0]), [0, 0])


class PercentTest(unittest.TestCase):
    def test_halves_are_rounded_away_from_zero(self):
        cents = (105, 104, 125, -105, -125)
        self.assertEqual([percent_of(each, Decimal(10)) for each in cents], [11, 10, 13, -11, -13])


class InvoiceTest(unittest.TestCase):
    def test_the_discount_comes_off_to_the_cent_on_the_lines(self):
        order = Order("1", [Item("lamp", 1, 3333), Item("shade", 1, 3333), Item("cord", 1, 3333)], discount=1000)
        rate = Decimal(20)
        self.assertEqual(figures(make_invoice(order)), ([2999, 3000, 3000], [(rate, 8999, 1800)], 8999, 10799))

    def test_several_rates(self):
        items = [Item("rope", 3, 333), Item("book", 1, 1001, Decimal(10)), Item("map", 1, 999, Decimal(10))]
        invoice = make_invoice(Order("2", items, discount=500))
        low, high = Decimal(10), Decimal(20)
        wanted = ([832, 834, 833], [(low, 1667, 167), (high, 832, 166)], 2499, 2832)
        self.assertEqual(figures(invoice), wanted)

    def test_refunds_among_other_items_take_no_part(self):
        items = [Item("lamp", 1, 1000), Item("pot", 1, -700), Item("cord", 2, 500), Item("tape", 1, 1000)]
        invoice = make_invoice(Order("3", items, discount=100))
        self.assertEqual(figures(invoice)[0], [966, -700, 967, 967])
        self.assertEqual(invoice.net, 2200)

    def test_an_order_of_refunds(self):
        items = [Item("lamp", 1, -1000), Item("cord", 1, -1000), Item("pot", 1, -1000)]
        invoice = make_invoice(Order("4", items, discount=-200))
        self.assertEqual(figures(invoice)[0], [-933, -933, -934])
        self.assertEqual((invoice.net, invoice.total), (-2800, -3360))

    def test_everything_agrees_on_any_invoice(self):
        rng = random.Random(11)
        rates = [Decimal("5.5"), Decimal(10), Decimal(20)]
        for number in range(40):
            items = [
                Item(f"thing {each}", rng.randrange(1, 4), rng.randrange(1, 3000), rng.choice(rates))
                for each in range(rng.randrange(1, 7))
            ]
            discount = rng.randrange(0, 900)
            nets, rows, net, total = figures(make_invoice(Order(str(number), items, discount=discount)))
            with self.subTest(number):
                self.assertEqual(net, sum(item.amount for item in items) - discount)
                self.assertEqual(sum(nets), net)
                self.assertEqual(sum(row[1] for row in rows), net)
                for rate, base, tax in rows:
                    self.assertEqual(base, sum(each for each, item in zip(nets, items) if item.tax == rate))
                    self.assertEqual(tax, tax_on(base, rate))
                self.assertEqual(total, net + sum(row[2] for row in rows))

    def test_the_page_shows_the_figures(self):
        order = Order("5", [Item("rope", 1, 1000), Item("book", 2, 500, Decimal(10))], discount=1)
        self.assertEqual(
            [line.split() for line in render(make_invoice(order)).splitlines()[2:]],
            [
                ["1", "x", "rope", "9.99"],
                ["2", "x", "book", "10.00"],
                ["-" * 44],
                "discount, taken off above 0.01".split(),
                ["net", "19.99"],
                "10 % tax on 10.00 1.00".split(),
                "20 % tax on 9.99 2.00".split(),
                ["total", "22.99"],
            ],
        )
