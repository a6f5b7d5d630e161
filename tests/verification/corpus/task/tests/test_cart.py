import unittest

import cart

LINES = [(3, 2), (4, 5)]
TOTALS = [([], 0), ([(3, 2)], 6), (LINES, 26), ([(7, 0), (1, 9)], 9)]


class CartTest(unittest.TestCase):
    def test_total(self):
        for lines, expected in TOTALS:
            self.assertEqual(cart.total(lines), expected)

    def test_average(self):
        self.assertAlmostEqual(cart.average(LINES), 26 / 7)

    def test_receipt(self):
        assert cart.receipt(LINES) == "2 x 3 = 6\n5 x 4 = 20\ntotal 26"

    def test_a_negative_count_is_refused(self):
        with self.assertRaises(ValueError):
            cart.total([(1, -1)])
