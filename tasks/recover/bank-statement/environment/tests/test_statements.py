import unittest
from datetime import date
from decimal import Decimal
from pathlib import Path

from statements import StatementError, by_category, read_statement

EXAMPLE = b"Date;Text;Amount;Currency\n02.01.2024;Rent January;-980.00;EUR\n15.01.2024;Bakery Sommer;-7.20;EUR\n"
MARCH = Path(__file__).parents[1] / "data" / "2024-03.csv"


class StatementsTest(unittest.TestCase):
    def test_the_example(self):
        first, second = read_statement(EXAMPLE)
        self.assertEqual((first.day, first.text, first.amount), (date(2024, 1, 2), "Rent January", Decimal("-980.00")))
        self.assertEqual(second.currency, "EUR")

    def test_something_else_is_refused(self):
        with self.assertRaises(StatementError):
            read_statement(b"name,price\nbread,3\n")

    def test_march_has_six_bookings(self):
        self.assertEqual(len(read_statement(MARCH.read_bytes())), 6)

    def test_march_adds_up_to_what_the_bank_says(self):
        self.assertEqual(sum(each.amount for each in read_statement(MARCH.read_bytes())), Decimal("318.65"))

    def test_march_by_category(self):
        sums = by_category(read_statement(MARCH.read_bytes()))
        self.assertEqual(sums["travel", "EUR"], Decimal("-1454.60"))
        self.assertEqual(sums["food", "EUR"], Decimal("-96.75"))


if __name__ == "__main__":
    unittest.main()
