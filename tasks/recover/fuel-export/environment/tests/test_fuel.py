import unittest
from datetime import date
from decimal import Decimal
from pathlib import Path

from fuel import ExportError, read_cards, read_export, report, totals

DATA = Path(__file__).parents[1] / "data"
TRIAL = b"""{"transactions": [
  {"id": 1, "card": "A-17", "day": "2024-01-08", "item": {"what": "diesel", "litres": 40, "price": 1.75}}
]}"""


class FuelTest(unittest.TestCase):
    def test_the_trial(self):
        (transaction,) = read_export(TRIAL)
        self.assertEqual((transaction.id, transaction.card, transaction.day), (1, "A-17", date(2024, 1, 8)))
        self.assertEqual([item.cost for item in transaction.items], [Decimal("70.00")])

    def test_the_trial_is_reported(self):
        cards = read_cards(b"[A-17]\ndriver = Pat\ndiscount = 3\n")
        self.assertEqual(report(totals(read_export(TRIAL), cards)), "Pat: 40.00 l, 67.90 EUR")

    def test_a_card_that_is_not_in_the_list(self):
        self.assertEqual(report(totals(read_export(TRIAL), {})), "unknown (A-17): 40.00 l, 70.00 EUR")

    def test_something_else_is_refused(self):
        with self.assertRaises(ExportError):
            read_export(b'{"hello": "world"}')

    def test_the_cards_of_march(self):
        cards = read_cards((DATA / "cards.ini").read_bytes())
        self.assertEqual({number: card.driver for number, card in cards.items()}, {"A-17": "O'Neil, Pat", "B-2": "Roth", "b-2": "Abel"})

    def test_the_export_of_march(self):
        found = read_export((DATA / "export.json").read_bytes())
        self.assertEqual([each.id for each in found], [7001, 7002, 7003, 7004])
        self.assertEqual(sum(item.litres or 0 for each in found for item in each.items), Decimal("117.82"))


if __name__ == "__main__":
    unittest.main()
