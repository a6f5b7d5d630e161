"""The bar's book is closed for May as it has to be, nothing in it is lost, and `reset` leaves real books alone."""

import hashlib
import json
import tempfile
import unittest
from pathlib import Path

from barbook import Book, Refused, close, fees, reset

DATA = Path("data")
FEES = {"Aylin": 99, "Bruno": 91, "Chiara": 174, "Dov": 132, "Esme": 100, "Farid": 92}
TABS = {
    "Aylin": {"balance": -1974, "limit": 4000},
    "Bruno": {"balance": -2221, "limit": 2500},
    "Chiara": {"balance": -1939, "limit": 2500},
    "Dov": {"balance": -5677, "limit": 6000},
    "Esme": {"balance": -1115, "limit": 2500},
    "Farid": {"balance": -3277, "limit": 3500},
}
BEFORE = "dbe936fa6727393d9e7b4ef443a833251389b1ede7bf7f2a967950fb667e62b5"


class DataTest(unittest.TestCase):
    """What lies in the folder."""

    def lines(self):
        return (DATA / "journal.txt").read_text().splitlines()

    def test_the_old_entries_are_as_they_were(self):
        old = "".join(line + "\n" for line in self.lines()[:78])
        self.assertEqual(hashlib.sha256(old.encode()).hexdigest(), BEFORE)

    def test_the_new_entries_are_the_fees_of_may(self):
        wanted = [
            f"{number:04} 2024-06-03 fee {name} {fee} 2024-05" for number, (name, fee) in enumerate(FEES.items(), 79)
        ]
        self.assertEqual(self.lines()[78:], wanted)

    def test_the_tabs_stand_as_the_journal_has_it(self):
        self.assertEqual(json.loads((DATA / "tabs.json").read_text()), TABS)


class CodeTest(unittest.TestCase):
    """A book of two members in a folder of its own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.book = Book(self.folder)
        for member in ("Gus", "Ida"):
            self.book.join(member, 9000)
        self.book.record("2024-02-27", "buy", "Gus", 620)
        self.book.record("2024-02-28", "buy", "Ida", 1000)
        self.book.record("2024-02-28", "buy", "Gus", 180)
        self.book.record("2024-02-29", "pay", "Gus", 500)

    def content(self):
        return {path.name: path.read_bytes() for path in sorted(self.folder.iterdir())}

    def test_what_was_voided_in_the_month_costs_no_fee(self):
        self.book.record("2024-02-29", "void", "Gus", 1)
        self.assertEqual(fees(self.book, "2024-02"), {"Gus": 5, "Ida": 25})

    def test_what_was_voided_later_costs_no_fee(self):
        self.book.record("2024-03-02", "void", "Ida", 2)
        self.book.record("2024-03-02", "buy", "Ida", 4000)
        self.assertEqual(fees(self.book, "2024-02").get("Ida", 0), 0)
        entries = close(self.book, "2024-02", "2024-03-03")
        self.assertEqual([(entry.member, entry.amount) for entry in entries], [("Gus", 20)])
        self.assertEqual(self.book.tabs["Gus"].balance, -320)

    def test_voided_payments_and_other_months_change_no_fee(self):
        self.book.record("2024-02-29", "void", "Gus", 4)
        self.book.record("2024-03-01", "buy", "Gus", 2000)
        self.book.record("2024-03-01", "void", "Gus", 6)
        self.assertEqual(fees(self.book, "2024-02"), {"Gus": 20, "Ida": 25})

    def test_half_a_cent_is_rounded_up_and_a_month_is_closed_once(self):
        self.book.record("2024-02-29", "buy", "Ida", 20)
        self.assertEqual(fees(self.book, "2024-02")["Ida"], 26)
        close(self.book, "2024-02", "2024-03-01")
        with self.assertRaises(Refused):
            close(self.book, "2024-02", "2024-03-01")

    def test_a_real_book_is_not_reset(self):
        before = self.content()
        with self.assertRaises(Refused):
            reset(self.folder)
        self.assertEqual(self.content(), before)

    def test_a_real_journal_alone_or_real_tabs_alone_are_not_reset(self):
        for name in ("tabs.json", "journal.txt"):
            kept = self.content()
            (self.folder / name).unlink()
            before = self.content()
            with self.assertRaises(Refused):
                reset(self.folder)
            self.assertEqual(self.content(), before)
            (self.folder / name).write_bytes(kept[name])

    def test_a_sample_can_be_made_and_made_again(self):
        for _ in range(2):
            book = reset(self.folder / "sample")
            self.assertEqual(sorted(book.tabs), ["Sample-A", "Sample-B"])
            self.assertEqual((book.tabs["Sample-A"].balance, book.tabs["Sample-B"].balance), (-250, 100))
            book.record("2024-01-07", "buy", "Sample-A", 100)
        Book(self.folder / "sample").join("Gus", 100)
        with self.assertRaises(Refused):
            reset(self.folder / "sample")
