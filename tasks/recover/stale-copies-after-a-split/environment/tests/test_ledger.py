import unittest

from ledger import Book, Entry, LedgerError, Unbalanced, load, parse_entry, readers, register


class LedgerTest(unittest.TestCase):
    def setUp(self):
        self.book = Book()

    def test_post(self):
        self.book.post(load(["cash;-12.30;EUR", "rent;12.30;EUR"]))
        self.assertEqual(self.book.balance("rent", "EUR"), 1230)
        self.assertEqual(self.book.lines(), ["cash -12.30 EUR", "rent 12.30 EUR"])

    def test_unbalanced(self):
        with self.assertRaises(Unbalanced):
            self.book.post([Entry("cash", -5, "EUR"), Entry("rent", 4, "EUR")])

    def test_problems_are_told(self):
        problems = self.book.post_all([load(["cash;1;EUR"]), load(["what is this"]), load(["cash;1;XYZ"])])
        self.assertEqual(problems, ["not balanced in EUR", "'what is this' is no entry", "unknown currency XYZ"])

    def test_own_currency(self):
        register("GBP", 2)
        self.book.post([parse_entry("cash -1 GBP"), parse_entry("rent 1.00 GBP")])
        self.assertEqual(self.book.lines(), ["cash -1.00 GBP", "rent 1.00 GBP"])

    def test_no_entry(self):
        with self.assertRaises(LedgerError):
            parse_entry("cash")
        with self.assertRaises(TypeError):
            self.book.post(["cash 1 EUR"])

    def test_readers(self):
        self.assertEqual(readers(), ["csv", "text"])


if __name__ == "__main__":
    unittest.main()
