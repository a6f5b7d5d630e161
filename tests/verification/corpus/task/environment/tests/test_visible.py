import unittest

import cart


class VisibleTest(unittest.TestCase):
    def test_total(self):
        self.assertEqual(cart.total([(3, 2)]), 6)

    def test_average(self):
        self.assertEqual(cart.average([(3, 2)]), 3)
