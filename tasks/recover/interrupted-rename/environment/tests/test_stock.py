import unittest

from stock import Missing, Warehouse, shortages, summary


class StockTest(unittest.TestCase):
    def setUp(self):
        self.north = Warehouse("north", 10)
        self.south = Warehouse("south", 10)
        self.north.add("bolt", 4)

    def test_level(self):
        self.assertEqual(self.north.level("bolt"), 4)
        self.assertEqual(self.north.level("nail"), 0)

    def test_transfer(self):
        self.north.transfer("bolt", 3, self.south)
        self.assertEqual((self.north.level("bolt"), self.south.level("bolt")), (1, 3))

    def test_missing(self):
        with self.assertRaises(Missing):
            self.north.remove("bolt", 5)

    def test_report(self):
        self.assertEqual(summary(self.north), "north: bolt 4")
        self.assertEqual(shortages(self.north, {"bolt": 6, "nail": 1}), {"bolt": 2, "nail": 1})


if __name__ == "__main__":
    unittest.main()
