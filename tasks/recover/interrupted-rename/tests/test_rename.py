"""The rename is finished, and a refused transfer leaves nothing behind."""

import unittest

from stock import Full, Missing, Warehouse, shortages, summary


class RenameTest(unittest.TestCase):
    """Two warehouses: `a` with room for 10 and 7 pieces in it, `b` with room for 3 and 1 piece in it."""

    def setUp(self):
        self.a, self.b = Warehouse("a", 10), Warehouse("b", 3)
        self.a.add("bolt", 5)
        self.a.add("cup", 2)
        self.b.add("cup", 1)

    def levels(self):
        return [warehouse.level(item) for warehouse in (self.a, self.b) for item in ("bolt", "cup")]

    def test_reports_work_again(self):
        self.assertEqual(f"{summary(self.a)} | {summary(self.b)}", "a: bolt 5, cup 2 | b: cup 1")
        self.assertEqual(shortages(self.a, {"bolt": 7, "cup": 1, "jar": 2}), {"bolt": 2, "jar": 2})

    def test_nothing_named_amount_stays(self):
        self.assertFalse(hasattr(Warehouse, "amount"))

    def test_a_transfer_moves_the_goods(self):
        self.a.transfer("bolt", 2, self.b)
        self.assertEqual(self.levels(), [3, 2, 2, 1])

    def test_a_transfer_without_room_changes_nothing(self):
        with self.assertRaises(Full) as caught:
            self.a.transfer("bolt", 3, self.b)
        self.assertEqual(str(caught.exception), "b: no room for 3")
        self.assertEqual(self.levels(), [5, 2, 0, 1])

    def test_a_transfer_of_what_is_not_there_changes_nothing(self):
        with self.assertRaises(Missing) as caught:
            self.a.transfer("bolt", 6, self.b)
        self.assertEqual(str(caught.exception), "a: only 5 of bolt")
        self.assertEqual(self.levels(), [5, 2, 0, 1])

    def test_the_last_piece_can_be_handed_over(self):
        self.b.transfer("cup", 1, self.a)
        self.assertEqual(self.b.items(), [])
        self.assertEqual(self.a.level("cup"), 3)
