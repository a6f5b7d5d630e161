"""Statements in every form that the bank promises, and the file in data/ as it was received."""

import hashlib
import unittest
from decimal import Decimal

from statements import StatementError, by_category, parse_amount, read_statement, report


def read(*rows, end="\r\n", mark=b"\xef\xbb\xbf"):
    return read_statement(mark + "".join(row + end for row in rows).encode())


def short(bookings):
    return [(f"{each.day}", each.text, str(each.amount), each.currency, None if each.charged is None else str(each.charged), each.charged_currency) for each in bookings]


class BankStatementTest(unittest.TestCase):
    def test_the_record_is_as_it_was_received_and_can_be_read(self):
        with open("data/2024-03.csv", "rb") as file:
            raw = file.read()
        self.assertEqual(hashlib.sha256(raw).hexdigest(), "e9bb34dc535f7be4ffe5611e56fc966175b80f1a599ee873755a76d99d77e94b")
        expected = [
            ("2024-03-01", "Salary February ACME; Ltd.", "2850.00", "EUR", None, None),
            ("2024-03-02", "Rent March", "-980.00", "EUR", None, None),
            ("2024-03-05", 'Supermarket "Zur Post"', "-84.35", "EUR", None, None),
            ("2024-03-09", "Swiss Railway", "-1042.60", "EUR", "-1001.00", "CHF"),
            ("2024-03-17", "Hotel Lac Noir, 3 nights", "-412.00", "EUR", "-395.50", "CHF"),
            ("2024-03-28", "Bakery Sommer", "-12.40", "EUR", None, None),
        ]
        self.assertEqual(short(read_statement(raw)), expected)
        self.assertEqual(report(read_statement(raw)).split("\n"), ["food: -96.75 EUR", "rent: -980.00 EUR", "salary: 2850.00 EUR", "travel: -1454.60 EUR"])

    def test_amounts_of_all_branches(self):
        texts = ["1.234,56", "1,234.56", "1'234.56", "1 234,56", "1\u00a0234,56", "12,00", "12.00", "-0,05", "0.05-", "1.234.567,89", "1,234,567.89", " -1.000,00 "]
        numbers = ["1234.56"] * 5 + ["12.00", "12.00", "-0.05", "-0.05", "1234567.89", "1234567.89", "-1000.00"]
        self.assertEqual([str(parse_amount(each)) for each in texts], numbers)

    def test_what_is_no_amount_is_refused(self):
        for text in ("", "abc", "12", "12,5", "-", "1,00 EUR", "--1,00", "1.234", "nan"):
            with self.assertRaises(ValueError):
                parse_amount(text)

    def test_without_a_mark_and_with_plain_line_ends(self):
        rows = ("Date;Text;Amount;Currency;Amount;Currency", "31.12.2023;Bakery;-3,10;EUR;;")
        expected = [("2023-12-31", "Bakery", "-3.10", "EUR", None, None)]
        for mark in (b"", b"\xef\xbb\xbf"):
            for end in ("\n", "\r\n"):
                self.assertEqual(short(read(*rows, end=end, mark=mark)), expected)

    def test_lines_without_a_date_are_no_bookings_wherever_they_stand(self):
        found = read(
            "Date;Text;Amount;Currency;Amount;Currency",
            ";Saldovortrag;1,00;EUR;;",
            "01.02.2024;Total Fitness;-30,00;EUR;;",
            "",
            ";;;;;",
            ";Zwischensumme;x;;;",
            "02.02.2024;Summe Books;-8,00;EUR;;",
            "   ;Totale;-38,00;EUR;;",
            ";note",
        )
        self.assertEqual([each.text for each in found], ["Total Fitness", "Summe Books"])

    def test_columns_in_another_order_and_more_of_them(self):
        found = read(
            "Currency; amount ;IBAN;CURRENCY;TEXT;Amount;date",
            "EUR;-9,90;DE00;USD;Airline snack;-10.75;2024-05-06",
            "EUR;5,00;;;Refund;;07.05.2024",
        )
        expected = [("2024-05-06", "Airline snack", "-9.90", "EUR", "-10.75", "USD"), ("2024-05-07", "Refund", "5.00", "EUR", None, None)]
        self.assertEqual(short(found), expected)

    def test_lines_that_end_early(self):
        found = read("Date;Text;Amount;Currency;Amount;Currency", "03.03.2024;Bakery;-1,00;EUR", "04.03.2024;Hotel;-80,00;EUR;-75,00;CHF")
        self.assertEqual([each.charged_currency for each in found], [None, "CHF"])

    def test_quotes(self):
        found = read("Date;Text;Amount;Currency;Amount;Currency", '03.03.2024;"A;B\r\n""C""\n\n  D";"-1,00";"EUR";;', '"04.03.2024";;-2,00;EUR;;')
        self.assertEqual([(each.text, str(each.amount)) for each in found], [('A;B "C" D', "-1.00"), ("", "-2.00")])

    def test_sums(self):
        found = read("Date;Text;Amount;Currency", "03.03.2024;Hotel;-1.100,00;EUR", "2024-03-04;hotel bar;-20.50;EUR", "05.03.2024;Hotel;-5,00;CHF")
        self.assertEqual(dict(by_category(found)), {("travel", "EUR"): Decimal("-1120.50"), ("travel", "CHF"): Decimal("-5.00")})

    def test_what_cannot_be_a_statement_is_refused(self):
        header = "Date;Text;Amount;Currency;Amount;Currency"
        for rows in (("",), ("Date;Text;Currency",), (header, "31.02.2024;x;1,00;EUR"), (header, "01.02.2024;x;;EUR"), (header, "01.02.2024;x;1,00;EUR;one;CHF")):
            with self.assertRaises(StatementError):
                read(*rows)
        with self.assertRaises(StatementError):
            read_statement(b"")
