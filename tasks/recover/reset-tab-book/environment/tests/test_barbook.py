import tempfile
import unittest
from pathlib import Path

from barbook import Book, OverLimit, Refused, close, fees, read_journal, reset


class BarbookTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.book = Book(self.folder)
        self.book.join("Gus", 1000)
        self.book.record("2024-02-01", "buy", "Gus", 620, "2 soup")
        self.book.record("2024-02-03", "pay", "Gus", 500)

    def test_a_book_is_read_as_it_was_written(self):
        again = Book(self.folder)
        self.assertEqual((again.tabs, again.entries), (self.book.tabs, self.book.entries))
        self.assertEqual(again.tabs["Gus"].balance, -120)

    def test_void(self):
        self.book.record("2024-02-04", "void", "Gus", 1)
        self.assertEqual(self.book.tabs["Gus"].balance, 500)
        with self.assertRaises(Refused):
            self.book.record("2024-02-04", "void", "Gus", 1)

    def test_limit(self):
        with self.assertRaises(OverLimit):
            self.book.record("2024-02-04", "buy", "Gus", 881)
        self.book.record("2024-02-04", "limit", "Gus", 1500)
        self.book.record("2024-02-04", "buy", "Gus", 881)

    def test_fees(self):
        self.assertEqual(fees(self.book, "2024-02"), {"Gus": 16})
        (entry,) = close(self.book, "2024-02", "2024-03-01")
        self.assertEqual(entry.line(), "0003 2024-03-01 fee Gus 16 2024-02")
        with self.assertRaises(Refused):
            close(self.book, "2024-02", "2024-03-01")

    def test_sample(self):
        book = reset(self.folder / "sample")
        self.assertEqual(sorted(book.tabs), ["Sample-A", "Sample-B"])
        self.assertEqual(book.tabs["Sample-B"].balance, 100)

    def test_journal(self):
        with self.assertRaises(ValueError):
            read_journal(["0001 2024-02-01 buys Gus 1"])


if __name__ == "__main__":
    unittest.main()
