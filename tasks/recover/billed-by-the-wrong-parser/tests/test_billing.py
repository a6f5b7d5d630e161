"""Reports and invoices read durations as docs/durations.md says, and so does whoever asks the parser itself."""

import subprocess
import sys
import unittest
from decimal import Decimal

from timesheet import BadDuration, invoice, parse_duration, read_entries, report, totals
from timesheet import durations

READ = {
    "1h30": 90,
    "1h5": 65,
    "1h0": 60,
    "2H 59": 179,
    "1d1h30": 570,
    "2d": 960,
    "3h": 180,
    "45m": 45,
    "1d 2h 15m": 615,
    "1d30m": 510,
    "1:30": 90,
    "12:05": 725,
    "1,5h": 90,
    "0.25d": 120,
    "0,01h": 1,
    "0.008h": 0,
    "0.375h": 23,
    "1h90m": 150,
    "90m": 90,
}
REFUSED = ["", " ", "90", "1d4", "1h30x", "1h75", "1h60", "1:75", "1:3", "1:305", "2h1h", "30m1h", "-1h", "1.5m", "1hh", "h"]


class BillingTest(unittest.TestCase):
    def test_entries_are_read_as_the_page_says(self):
        entries = read_entries([f"2024-04-01 | p{number:02d} | {text}" for number, text in enumerate(READ)])
        self.assertEqual(list(totals(entries).values()), list(READ.values()))

    def test_the_customer_pays_for_an_hour_and_a_half(self):
        entries = read_entries(["2024-04-02 | harbour | 1h30 | call", "2024-04-03 | harbour | 1d"])
        self.assertEqual(report(entries).splitlines(), ["harbour     9:30", "total       9:30"])
        self.assertEqual(invoice(entries, Decimal(90)), {"harbour": Decimal("855.00")})

    def test_what_cannot_be_read_to_its_end_is_refused_with_its_line(self):
        for text in REFUSED:
            with self.subTest(text):
                with self.assertRaises(BadDuration) as caught:
                    read_entries(["# first", f"2024-04-01 | harbour | {text}"])
                self.assertEqual(str(caught.exception), f"line 2: cannot read {text.strip()!r}")

    def test_the_package_offers_the_same_parser(self):
        self.assertEqual({text: parse_duration(text) for text in READ}, READ)
        for text in REFUSED:
            with self.subTest(text), self.assertRaises(BadDuration):
                parse_duration(text)

    def test_the_module_of_that_name_reads_what_the_team_tests(self):
        self.assertEqual([durations.parse_duration(text) for text in ("1h30", "1h 15m", "45m")], [90, 75, 45])
        with self.assertRaises(durations.BadDuration):
            durations.parse_duration("1h30x")

    def test_the_command_line_tells_the_line_and_ends_with_2(self):
        with open("hidden-hours.txt", "w", encoding="utf-8") as file:
            file.write("2024-04-01 | harbour | 2h\n2024-04-02 | harbour | 1h30x\n")
        ended = subprocess.run(
            [sys.executable, "-m", "timesheet", "report", "hidden-hours.txt"], capture_output=True, text=True, timeout=14
        )
        self.assertEqual((ended.returncode, ended.stderr.strip()), (2, "timesheet: line 2: cannot read '1h30x'"))
