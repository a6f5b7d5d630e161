"""There is one of each, wherever it is imported from or named, and every name of old is still there."""

import subprocess
import sys
import unittest

import ledger
from ledger import Book, Entry, LedgerError, Unbalanced, UnknownCurrency, currency, entries, errors, load, models, register


def read(line, form):
    return [[entry.account, entry.units, entry.currency] for entry in load([line, ""], form)]


class OneOfEachTest(unittest.TestCase):
    def test_every_name_of_old_is_still_there(self):
        names = ["CURRENCIES", "SEPARATOR", "LedgerError", "UnknownCurrency", "Unbalanced", "register", "digits_of"]
        names += ["Entry", "parse_entry", "format_entry"]
        self.assertEqual([name for name in names if not hasattr(models, name)], [])
        self.assertEqual(models.SEPARATOR, " ")

    def test_errors_are_caught_by_either_name(self):
        with self.assertRaises(models.UnknownCurrency):
            ledger.parse_entry("cash 1 XYZ")
        with self.assertRaises(UnknownCurrency):
            models.parse_entry("cash 1 XYZ")
        with self.assertRaises(errors.LedgerError):
            models.format_entry(models.Entry("cash", 1, "XYZ"))
        with self.assertRaises(models.Unbalanced):
            Book().post([Entry("cash", 1, "EUR")])
        with self.assertRaises(Unbalanced):
            Book().post([models.Entry("cash", 1, "EUR")])

    def test_entries_of_either_name_can_be_posted_together(self):
        book = Book()
        book.post([models.Entry("cash", -5, "EUR"), entries.Entry("rent", 5, "EUR")])
        book.post([models.parse_entry("cash -1 EUR"), entries.parse_csv("rent;1;EUR"), *load(["till 0 EUR"], "text")])
        self.assertEqual([book.balance("cash", "EUR"), book.balance("rent", "EUR")], [-105, 105])

    def test_a_currency_is_known_everywhere_once_it_is_registered(self):
        register("GBP", 2)
        models.register("BHD", 3)
        self.assertEqual([models.digits_of("GBP"), currency.digits_of("BHD")], [2, 3])
        self.assertEqual(read("cash -1.5 GBP", "text"), [["cash", -150, "GBP"]])
        self.assertEqual(read("cash;1.5;BHD", "csv"), [["cash", 1500, "BHD"]])
        book = Book()
        book.post([Entry("cash", -1, "BHD"), models.Entry("rent", 1, "BHD")])
        self.assertEqual(book.lines(), ["cash -0.001 BHD", "rent 0.001 BHD"])

    def test_the_table_of_currencies_is_one(self):
        # In a program of its own, since tables cross over to here as copies.
        code = (
            "from ledger import currency, load, models; models.CURRENCIES['CHF'] = 2; print(currency.digits_of('CHF'), "
            "[entry.units for entry in load(['cash 1 CHF'], 'text')], models.CURRENCIES is currency.CURRENCIES)"
        )
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=14)
        self.assertEqual(ended.stdout, "2 [100] True\n")

    def test_other_digits_are_refused_by_either_name(self):
        for register_it in (register, models.register, currency.register):
            with self.assertRaises(LedgerError):
                register_it("JPY", 2)
        self.assertEqual(models.digits_of("JPY"), 0)

    def test_the_newer_parser_reads_text(self):
        for line in ("petty cash -12.30 EUR", "petty cash\t-12.3 EUR"):
            self.assertEqual(read(line, "text"), [["petty cash", -1230, "EUR"]])
        for line in ("cash 1.234 EUR", "cash 1.5 JPY", "cash nan EUR", "cash 1e3 EUR", "cash"):
            with self.subTest(line):
                with self.assertRaises(LedgerError):
                    read(line, "text")
                with self.assertRaises(LedgerError):
                    models.parse_entry(line)

    def test_large_amounts_keep_their_cents(self):
        self.assertEqual(read("cash 90071992547409.93 EUR", "text"), [["cash", 9007199254740993, "EUR"]])

    def test_problems_are_told_for_both_formats(self):
        postings = [load(["cash 1 XYZ"], "text"), load(["cash;1;XYZ"]), load(["what"], "text"), load(["a 1 EUR"], "text")]
        told = Book().post_all(postings)
        self.assertEqual(told, ["unknown currency XYZ"] * 2 + ["'what' is no entry", "not balanced in EUR"])

    def test_other_things_are_no_entries(self):
        with self.assertRaises(TypeError):
            Book().post(["cash 1 EUR"])
