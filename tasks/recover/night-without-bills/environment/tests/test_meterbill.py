import logging
import unittest
from datetime import date

from meterbill import Backwards, Implausible, Meter, Registry, read_orders, read_readings, run_batch, run_night

DAY = date(2024, 3, 13)


class MeterbillTest(unittest.TestCase):
    def setUp(self):
        logging.disable(logging.CRITICAL)
        self.registry = Registry()
        for number, customer, last in (("10021", "K1", 5000), ("10035", "K2", 41000), ("10400", "K3", 77)):
            self.registry.add(Meter(number, customer, last))

    def test_orders_of_the_day_are_read(self):
        lines = [
            "* hand-held 12, tour 3",
            "X000310010035 20240313   41009sealed anew",
            "X000309910021 20240312    4990",
        ]
        (order,) = read_orders(lines, DAY)
        self.assertEqual((order.number, order.meter, order.closing), ("X0003100", "10035", 41009))
        self.assertEqual(order.remark, "sealed anew")

    def test_first_reading_counts(self):
        self.assertEqual(read_readings(["10021;5011,9", "10021;6000", "", "10400;80"]), {"10021": 5011, "10400": 80})

    def test_bills(self):
        bills = run_batch("01", ["10021", "10400"], self.registry, {"10021": 5010, "10400": 77})
        self.assertEqual([(bill.customer, bill.used, bill.cents) for bill in bills], [("K1", 10, 352), ("K3", 0, 42)])

    def test_exchanged_register(self):
        bills, failed = run_night(
            DAY, self.registry, ["X000310010035 20240313   41009"], ["10021;5010", "10035;4", "10400;80"]
        )
        self.assertEqual([bill.used for bill in bills], [10, 13, 3])
        self.assertEqual(failed, [])

    def test_batch_fails_as_a_whole(self):
        with self.assertRaises(Backwards):
            run_batch("01", ["10021", "10400"], self.registry, {"10021": 5010, "10400": 76})
        with self.assertRaises(Implausible):
            run_batch("01", ["10021", "10400"], self.registry, {"10021": 5010, "10400": 778})
        self.assertEqual(self.registry.meter("10021").last, 5000)


if __name__ == "__main__":
    unittest.main()
