"""Billing dates at the ends of months, invoices without gaps, and parts that add up."""

import unittest
from datetime import date

from billing import Plan, invoices, next_date, schedule, split
from billing.letters import letter


def days(plan, until):
    return [f"{each:%y-%m-%d}" for each in schedule(plan, until)]


class BillingDatesTest(unittest.TestCase):
    def test_the_31st_comes_back_after_a_short_month(self):
        found = days(Plan(date(2023, 1, 31), 1, 900), date(2023, 8, 1))
        self.assertEqual(found, ["23-01-31", "23-02-28", "23-03-31", "23-04-30", "23-05-31", "23-06-30", "23-07-31"])

    def test_the_30th_and_the_29th_too(self):
        self.assertEqual(days(Plan(date(2022, 12, 30), 1, 900), date(2023, 4, 1)), ["22-12-30", "23-01-30", "23-02-28", "23-03-30"])
        self.assertEqual(days(Plan(date(2023, 1, 29), 1, 900), date(2023, 4, 1)), ["23-01-29", "23-02-28", "23-03-29"])

    def test_leap_years(self):
        self.assertEqual(days(Plan(date(2024, 1, 31), 1, 900), date(2024, 4, 1)), ["24-01-31", "24-02-29", "24-03-31"])
        found = days(Plan(date(2020, 2, 29), 12, 900), date(2025, 1, 1))
        self.assertEqual(found, ["20-02-29", "21-02-28", "22-02-28", "23-02-28", "24-02-29"])

    def test_every_third_month(self):
        found = days(Plan(date(2023, 8, 31), 3, 900), date(2024, 9, 1))
        self.assertEqual(found, ["23-08-31", "23-11-30", "24-02-29", "24-05-31", "24-08-31"])

    def test_the_next_date_is_found_from_any_day(self):
        plan = Plan(date(2023, 1, 31), 1, 900)
        asked = [date(2023, 1, 1), date(2023, 1, 30), date(2023, 1, 31), date(2023, 2, 28), date(2023, 3, 30), date(2023, 3, 31), date(2024, 2, 28)]
        expected = ["23-01-31", "23-01-31", "23-02-28", "23-03-31", "23-03-31", "23-04-30", "24-02-29"]
        self.assertEqual([f"{next_date(plan, day):%y-%m-%d}" for day in asked], expected)

    def test_a_day_that_every_month_has_stays(self):
        found = days(Plan(date(2022, 11, 28), 1, 900), date(2023, 3, 28))
        self.assertEqual(found, ["22-11-28", "22-12-28", "23-01-28", "23-02-28"])
        self.assertEqual(days(Plan(date(2023, 2, 28), 1, 900), date(2023, 4, 28)), ["23-02-28", "23-03-28"])

    def test_the_last_day_is_left_out(self):
        self.assertEqual(days(Plan(date(2023, 1, 31), 1, 900), date(2023, 2, 28)), ["23-01-31"])
        self.assertEqual(days(Plan(date(2023, 1, 31), 1, 900), date(2023, 1, 31)), [])

    def test_invoices_leave_no_day_out_and_bill_none_twice(self):
        found = invoices(Plan(date(2023, 1, 31), 1, 900), date(2023, 5, 1))
        spans = [f"{each.first:%m-%d}/{each.last:%m-%d}" for each in found]
        self.assertEqual(spans, ["01-31/02-27", "02-28/03-30", "03-31/04-29", "04-30/05-30"])

    def test_parts_add_up_and_odd_cents_go_where_most_was_lost(self):
        self.assertEqual(split(100, {"c": 1, "b": 1, "a": 1}), {"a": 34, "b": 33, "c": 33})
        self.assertEqual(split(200, {"c": 1, "b": 1, "a": 1}), {"a": 67, "b": 67, "c": 66})
        self.assertEqual(split(100, {"a": 1, "b": 2, "c": 3}), {"a": 17, "b": 33, "c": 50})
        self.assertEqual(split(5, {"a": 1, "z": 1}), {"a": 3, "z": 2})
        self.assertEqual(split(101, {"a": 10, "b": 45, "c": 45}), {"a": 10, "b": 46, "c": 45})
        self.assertEqual(split(10, {"x": 3, "y": 3, "z": 1}), {"x": 4, "y": 4, "z": 2})

    def test_a_weight_of_nothing_gets_nothing(self):
        self.assertEqual(split(100, {"a": 0, "b": 1, "c": 1, "d": 1}), {"a": 0, "b": 34, "c": 33, "d": 33})
        with self.assertRaises(ValueError):
            split(100, {"a": 0})

    def test_a_credit_note_is_an_invoice_with_the_sign_turned(self):
        self.assertEqual(split(-100, {"a": 1, "b": 1, "c": 1}), {"a": -34, "b": -33, "c": -33})
        self.assertEqual(split(-10, {"x": 3, "y": 3, "z": 1}), {"x": -4, "y": -4, "z": -2})
        self.assertEqual(split(0, {"a": 1, "b": 2}), {"a": 0, "b": 0})

    def test_large_amounts_are_exact(self):
        self.assertEqual(split(10**15 + 1, {"a": 1, "b": 1}), {"a": 500000000000001, "b": 500000000000000})

    def test_an_invoice_has_its_parts(self):
        (invoice,) = invoices(Plan(date(2024, 1, 31), 1, 1001), date(2024, 2, 1), {"lab": 1, "desk": 1})
        self.assertEqual(dict(invoice.parts), {"desk": 501, "lab": 500})
        self.assertEqual(letter(invoice), "31.01.2024 - 28.02.2024: 10.01 EUR\n  desk: 5.01 EUR\n  lab: 5.00 EUR")
