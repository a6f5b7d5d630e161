import unittest
from decimal import Decimal

from timesheet import BadLine, invoice, read_entries, report, totals

LINES = ["# May", "2024-05-02 | harbour | 1d", "2024-05-02|museum|0,5h|labels", "", "2024-05-03 | harbour | 20m | call"]


class ReportTest(unittest.TestCase):
    def setUp(self):
        self.entries = read_entries(LINES)

    def test_totals(self):
        self.assertEqual(totals(self.entries), {"harbour": 500, "museum": 30})

    def test_report(self):
        self.assertEqual(
            report(self.entries).splitlines(),
            ["harbour     8:20", "museum      0:30", "total       8:50"],
        )

    def test_invoice(self):
        self.assertEqual(invoice(self.entries, Decimal(90)), {"harbour": Decimal("750.00"), "museum": Decimal("45.00")})

    def test_bad_line(self):
        with self.assertRaises(BadLine):
            read_entries(["2024-05-02 | harbour"])


if __name__ == "__main__":
    unittest.main()
