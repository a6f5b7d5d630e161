"""Orders for six-digit meters reach those meters, and the checks still stop what they stopped."""

import logging
import unittest
from datetime import date

from meterbill import Backwards, Implausible, Meter, Registry, UnknownMeter, read_orders, run_batch, run_night

DAY = date(2024, 3, 13)
METERS = (("10412", "A", 61230), ("104127", "B", 88101), ("20001", "C", 300), ("204", "D", 10), ("200019", "E", 5))
READINGS = ["10412;61250,4", "104127;19", "20001;310", "204;12", "200019;5"]


def as_plain(bills):
    return [(bill.customer, bill.meter, bill.used, bill.cents) for bill in bills]


class NightTest(unittest.TestCase):
    def setUp(self):
        logging.disable(logging.CRITICAL)
        self.registry = Registry()
        for number, customer, last in METERS:
            self.registry.add(Meter(number, customer, last))

    def state(self):
        meters = [self.registry.meter(number) for number, _, _ in METERS]
        return [(meter.last, meter.carried) for meter in meters]

    def test_an_order_names_a_meter_of_five_six_or_fewer_digits(self):
        lines = [
            "X000312710412720240313   88120",
            "X000312810412 20240313   61240ladder needed",
            "* hand-held 4",
            "",
            "X0003129204   20240313      11",
            "X000313099999920240312       1yesterday",
        ]
        orders = [(o.number, o.meter, o.day, o.closing, o.remark) for o in read_orders(lines, DAY)]
        wanted = [
            ("X0003127", "104127", DAY, 88120, ""),
            ("X0003128", "10412", DAY, 61240, "ladder needed"),
            ("X0003129", "204", DAY, 11, ""),
        ]
        self.assertEqual(orders, wanted)

    def test_the_night_goes_through_and_everybody_pays_for_what_was_counted(self):
        bills, failed = run_night(DAY, self.registry, ["X000312710412720240313   88120"], READINGS, size=2)
        wanted = [
            ("A", "10412", 20, 662),
            ("B", "104127", 38, 1220),
            ("C", "20001", 10, 352),
            ("E", "200019", 0, 42),
            ("D", "204", 2, 104),
        ]
        self.assertEqual(failed, [])
        self.assertEqual(as_plain(bills), wanted)

    def test_both_meters_can_be_exchanged_in_one_night(self):
        orders = ["X000312710412720240313   88120", "X000312810412 20240313   61240"]
        bills, failed = run_night(DAY, self.registry, orders, ["10412;3", *READINGS])
        self.assertEqual(failed, [])
        self.assertEqual([used for _, _, used, _ in as_plain(bills)], [13, 38, 10, 0, 2])

    def test_what_counts_backwards_still_stops_its_batch(self):
        bills, failed = run_night(DAY, self.registry, [], READINGS, size=2)
        self.assertEqual(failed, ["10412", "104127"])
        self.assertEqual([customer for customer, _, _, _ in as_plain(bills)], ["C", "E", "D"])
        self.assertEqual(self.state(), [(61230, 0), (88101, 0), (310, 0), (12, 0), (5, 0)])

    def test_what_cannot_have_been_used_still_stops_its_batch(self):
        before = self.state()
        with self.assertRaises(Implausible):
            run_batch("01", ["20001", "204"], self.registry, {"20001": 310, "204": 411})
        with self.assertRaises(Backwards):
            run_batch("01", ["20001", "204"], self.registry, {"20001": 310, "204": 9})
        self.assertEqual(self.state(), before)
        bills = run_batch("01", ["20001", "204"], self.registry, {"20001": 700, "204": 10})
        self.assertEqual([used for _, _, used, _ in as_plain(bills)], [400, 0])

    def test_an_exchange_that_cannot_be_right_still_stops_its_batch(self):
        orders = ["X000312710412720240313   98120"]
        bills, failed = run_night(DAY, self.registry, orders, READINGS, size=2)
        self.assertEqual(failed, ["10412", "104127"])
        self.assertEqual(len(bills), 3)

    def test_an_order_for_a_meter_that_is_not_there_is_refused(self):
        with self.assertRaises(UnknownMeter) as caught:
            run_night(DAY, self.registry, ["X000312710412820240313   88120"], READINGS)
        self.assertEqual(str(caught.exception), "no meter 104128")

    def test_lines_that_are_no_orders_are_refused(self):
        for line in ("Y000312710412720240313   88120", "X000312710412720240313        ", "X0003127"):
            with self.assertRaises(ValueError):
                read_orders([line], DAY)
