import unittest

from studio import InvoiceBook, Job, Line, terms_for, travel


class StudioTest(unittest.TestCase):
    def test_terms(self):
        self.assertEqual(terms_for("Ms Adler").days, 30)
        self.assertEqual(terms_for("City Theatre").days, 60)

    def test_travel(self):
        self.assertEqual(travel(100, 2), [Line("100 km by car", 4200), Line("2 days away", 5600)])

    def test_book(self):
        book = InvoiceBook("A")
        numbers = [book.issue(Job("Ms Adler", [Line("Portrait", 24000)]), 2024) for _ in range(2)]
        self.assertEqual(numbers, ["A-2024-001", "A-2024-002"])
        self.assertEqual(book.turnover(), 48000)


if __name__ == "__main__":
    unittest.main()
