import unittest
from datetime import date

from billing import Plan, invoices, next_date, schedule, split
from billing.letters import letter


class BillingTest(unittest.TestCase):
    def test_a_day_that_every_month_has(self):
        plan = Plan(date(2023, 11, 15), 1, 900)
        self.assertEqual([each.month for each in schedule(plan, date(2024, 3, 15))], [11, 12, 1, 2])

    def test_next_date_is_later(self):
        plan = Plan(date(2023, 11, 15), 3, 900)
        self.assertEqual(next_date(plan, date(2024, 2, 15)), date(2024, 5, 15))

    def test_signed_up_on_the_31st(self):
        plan = Plan(date(2023, 1, 31), 1, 900)
        self.assertEqual(schedule(plan, date(2023, 3, 1)), [date(2023, 1, 31), date(2023, 2, 28)])

    def test_invoices_follow_each_other(self):
        first, second = invoices(Plan(date(2023, 5, 10), 1, 900), date(2023, 7, 10))
        self.assertEqual((first.last, second.first), (date(2023, 6, 9), date(2023, 6, 10)))
        self.assertEqual(letter(first), "10.05.2023 - 09.06.2023: 9.00 EUR")

    def test_the_parts_add_up(self):
        self.assertEqual(split(100, {"a": 1, "b": 1, "c": 1}), {"a": 34, "b": 33, "c": 33})
        self.assertEqual(split(1000, {"shop": 1, "office": 4}), {"shop": 200, "office": 800})


if __name__ == "__main__":
    unittest.main()
