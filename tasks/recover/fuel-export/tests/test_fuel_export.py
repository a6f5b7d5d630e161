"""Exports and lists of cards in every form that is promised, and the delivery as it came."""

import hashlib
import unittest

from fuel import CardsError, ExportError, parse_number, read_cards, read_export, report, totals
from fuel.__main__ import main

WASH = '"item": {"what": "wash", "litres": NaN, "price": "9,00"}'


def entry(number, *items, card="A", day="2024-04-01"):
    return f'{{"id": {number}, "card": "{card}", "day": "{day}", ' + ", ".join(items or (WASH,)) + "}"


def page(*entries):
    return '{"transactions": [' + ", ".join(entries) + "]}"


def item(litres, price, what="diesel"):
    return f'"item": {{"what": "{what}", "litres": {litres}, "price": {price}}}'


def plain(number):
    return None if number is None else f"{number.normalize():f}"


def short(transactions):
    return [
        (each.id, each.card, [(part.what, plain(part.litres), plain(part.price), plain(part.cost)) for part in each.items])
        for each in transactions
    ]


def ids(text):
    return [each.id for each in read_export(text.encode())]


class FuelExportTest(unittest.TestCase):
    def test_the_delivery_is_untouched_and_can_be_read(self):
        raw = []
        for name, digest in (("export.json", "b51c971351fb6a7dfb723cc4d7241d5bf223a3a28d66acf84b5971873134bdc9"), ("cards.ini", "7b398e9165d1690b81881ea9b9f284d0e18576af9012d36feae4fa652cb89ecb")):
            with open(f"data/{name}", "rb") as file:
                raw.append(file.read())
            self.assertEqual(hashlib.sha256(raw[-1]).hexdigest(), digest)
        lines = report(totals(read_export(raw[0]), read_cards(raw[1]))).split("\n")
        self.assertEqual(lines, ["Abel: 0.00 l, 12.50 EUR", "O'Neil, Pat: 84.75 l, 138.68 EUR", "Roth: 33.07 l, 59.94 EUR"])
        self.assertEqual(main(["data/export.json", "data/cards.ini"]), 0)

    def test_encodings(self):
        text = page(entry(1, card="Ü-1"))
        for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"):
            self.assertEqual([each.card for each in read_export(text.encode(encoding))], ["Ü-1"])
        self.assertEqual([each.card for each in read_export(b"\xfe\xff" + text.encode("utf-16-be"))], ["Ü-1"])

    def test_pages_follow_each_other_with_and_without_space(self):
        for between in ("", " ", "\r\n\r\n"):
            text = between.join([page(entry(1)), page(entry(2), entry(3)), page(), page(entry(4))])
            self.assertEqual(ids(text + between), [1, 2, 3, 4])

    def test_every_item_counts(self):
        text = page(entry(1, item("10", "1.5"), item('"2,5"', '"1,10"', "adblue"), item("NaN", "7", "wash")), entry(2))
        expected = [
            (1, "A", [("diesel", "10", "1.5", "15"), ("adblue", "2.5", "1.1", "2.75"), ("wash", None, "7", "7")]),
            (2, "A", [("wash", None, "9", "9")]),
        ]
        self.assertEqual(short(read_export(text.encode())), expected)

    def test_numbers_are_exact(self):
        values = [1, 0, "41,2", "41.20", "-3", " 7,5 "]
        self.assertEqual([plain(parse_number(each)) for each in values], ["1", "0", "41.2", "41.2", "-3", "7.5"])
        # As a binary fraction, 2.675 is a little less.
        found = short(read_export(page(entry(1, item("1", "2.675")), entry(2, item("0.1", "0.55"))).encode()))
        self.assertEqual([each[2][0][1:] for each in found], [("1", "2.675", "2.68"), ("0.1", "0.55", "0.06")])

    def test_what_is_not_known(self):
        text = page(*(entry(n, item(litres, "3")) for n, litres in enumerate(["NaN", "null", '""', "0"])), entry(9, '"item": {"what": "wash", "price": 3}'))
        self.assertEqual([each[2][0][1] for each in short(read_export(text.encode()))], [None, None, None, "0", None])
        self.assertEqual([parse_number(each) for each in (None, "", float("nan"))], [None, None, None])

    def test_what_is_no_number_is_refused(self):
        for text in ("1.234,5", "1,234,5", "abc", "1 000"):
            with self.assertRaises(ValueError):
                parse_number(text)
        for price in ('"x"', "NaN", "null", '""'):
            with self.assertRaises(ExportError):
                read_export(page(entry(1, item("1", price))).encode())

    def test_entries_without_an_id_are_no_transactions_wherever_they_stand(self):
        text = page('{"note": "late", "item": "?"}', entry(5), '{"litres": "3,0"}', '{"count": 2}', entry(6))
        self.assertEqual(ids(text), [5, 6])

    def test_a_count_that_is_wrong_is_refused(self):
        for entries in ((entry(1), '{"count": 2}'), (entry(1), entry(2), '{"count": "1"}'), ('{"count": 1}',)):
            with self.assertRaises(ExportError):
                read_export((page(entry(8)) + page(*entries)).encode())
        self.assertEqual(ids(page(entry(1), '{"count": "1"}') + page('{"count": 0}')), [1])

    def test_corrections_take_the_place_of_the_first(self):
        one = page(entry(1, item("1", "1")), entry(2, item("2", "1")), entry(1, item("3", "1")), '{"count": 3}')
        two = page(entry(3, item("4", "1")), entry(2, item("5", "1")), '{"count": 2}')
        found = short(read_export((one + two).encode()))
        self.assertEqual([(each[0], each[2][0][1]) for each in found], [(1, "3"), (2, "5"), (3, "4")])

    def test_what_is_no_export_is_refused(self):
        good = page(entry(1))
        for text in ("", "[]", "3", good + "x", good[:-2], good + '{"a": 1}', page('{"id": 1}'), page(entry(1, day="2024-02-30"))):
            with self.assertRaises(ExportError):
                read_export(text.encode())

    def test_cards(self):
        text = "; list\r\n[X-1]\r\nDRIVER = Al ; temp\r\ndiscount = 2,5 %\r\n# old\r\n[x-1]\r\ndriver = 50% Bo;Co\r\n[Y]\r\ndriver=Cy\r\ndiscount=1.5%\r\n[X-1]\r\ndriver = Di\r\n"
        for raw in (text.encode(), text.encode("utf-8-sig"), text.replace("\r", "").encode()):
            found = {number: (card.number, card.driver, plain(card.discount)) for number, card in read_cards(raw).items()}
            self.assertEqual(found, {"X-1": ("X-1", "Di", "2.5"), "x-1": ("x-1", "50% Bo;Co", "0"), "Y": ("Y", "Cy", "1.5")})

    def test_what_is_no_list_of_cards_is_refused(self):
        for raw in (b"driver = x\n", b"[A]\ndiscount = 3\n", b"[A]\ndriver = x\ndiscount = much\n"):
            with self.assertRaises(CardsError):
                read_cards(raw)
