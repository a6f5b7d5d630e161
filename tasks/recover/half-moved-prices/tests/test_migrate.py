"""The catalogue is in format 2 with the prices that count, and `migrate` is safe to run on anything."""

import json
import tempfile
import unittest
from pathlib import Path

from catalogue import Basket, Store, articles, migrate, price_list

# code, offer in cents, (size, cents, stock)...
WANTED = [
    ("H11", None, [("300 g", 2180, 24), ("500 g", 995, 60)]),
    ("N12", 1611, [("box", 1790, 18), ("bag", 3333, 81)]),
    ("S13", 3155, [("one", 3506, 8)]),
    ("S14", 180, [("small", 205, 41), ("large", 115, 66)]),
    ("P15", None, [("one", 2950, 52)]),
    ("H16", 1350, [("small", 1500, 3), ("large", 820, 51)]),
    ("S17", None, [("one", 1999, 108)]),
    ("W18", None, [("small", 1999, 60), ("large", 3333, 50)]),
    ("M19", 1980, [("small", 2200, 42), ("medium", 230, 97), ("large", 900, 1)]),
    ("P20", None, [("one", 995, 24)]),
    ("P21", None, [("small", 2700, 14), ("large", 115, 0)]),
    ("S22", 1799, [("small", 1999, 26), ("medium", 110, 82), ("large", 950, 33)]),
    ("D23", None, [("small", 1790, 49), ("medium", 820, 26), ("large", 100, 47)]),
    ("W24", None, [("small", 3760, 23), ("large", 3449, 31)]),
    ("H25", 1170, [("small", 1300, 112), ("large", 600, 13)]),
    ("P26", None, [("one", 3333, 50), ("with two keys", 2395, 12)]),
    ("C27", 3515, [("1 m", 3906, 8)]),
    ("R28", None, [("10 m", 500, 95), ("25 m", 1790, 52)]),
    ("W29", 1611, [("8", 1790, 47), ("9", 1250, 114), ("10", 2200, 75)]),
    ("D30", 2070, [("small", 2300, 76), ("large", 450, 40)]),
    ("S31", 849, [("small", 995, 47), ("large", 900, 87)]),
    ("R32", 1500, [("small", 200, 73), ("large", 3205, 48)]),
    ("H33", None, [("15 m", 600, 32), ("30 m", 3926, 88)]),
    ("B34", None, [("one", 2224, 3)]),
]


def record(code, title, sizes, **more):
    return {"code": code, "title": title, "sizes": sizes, **more}


MIXED = [
    record("A", "Axe", [{"name": "s", "price": 19.99, "stock": 1}, {"name": "l", "price": 30, "stock": 2, "cents": 2995}]),
    record("B", "Bolt", [{"name": "s", "cents": 7, "stock": 0}], offer=None),
    record("C", "Clamp", [{"name": "s", "cents": 1250, "stock": 4}], offer=11.5, offer_cents=1099),
    record("D", "Drill", [{"name": "s", "cents": 5600, "stock": 4}], offer_cents=5000),
    record("E", "Edge", [{"name": "s", "price": 1.15, "stock": 4}], offer=0.29),
    record("F", "File", [{"name": "s", "cents": 240, "stock": 4}]),
]
MOVED = [
    record("A", "Axe", [{"name": "s", "cents": 1999, "stock": 1}, {"name": "l", "cents": 2995, "stock": 2}]),
    record("B", "Bolt", [{"name": "s", "cents": 7, "stock": 0}]),
    record("C", "Clamp", [{"name": "s", "cents": 1250, "stock": 4}], offer_cents=1099),
    record("D", "Drill", [{"name": "s", "cents": 5600, "stock": 4}], offer_cents=5000),
    record("E", "Edge", [{"name": "s", "cents": 115, "stock": 4}], offer_cents=29),
    record("F", "File", [{"name": "s", "cents": 240, "stock": 4}]),
]


class DataTest(unittest.TestCase):
    def setUp(self):
        self.data = json.loads(Path("data/catalogue.json").read_text(encoding="utf-8"))

    def test_every_price_is_the_one_that_counts(self):
        found = [
            (each["code"], each.get("offer_cents"), [(size["name"], size.get("cents"), size["stock"]) for size in each["sizes"]])
            for each in self.data["articles"]
        ]
        self.assertEqual(found, WANTED)

    def test_nothing_of_format_1_is_left(self):
        self.assertEqual(self.data["format"], 2)
        sizes = {key for each in self.data["articles"] for size in each["sizes"] for key in size}
        self.assertEqual(sizes, {"name", "cents", "stock"})
        keys = {key for each in self.data["articles"] for key in each}
        self.assertEqual(keys, {"code", "title", "sizes", "offer_cents"})
        self.assertEqual(sum(each.get("offer_cents", 1) is None for each in self.data["articles"]), 0)


class MigrateTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "catalogue.json"

    def write(self, data):
        self.path.write_text(json.dumps(data))

    def read(self):
        return json.loads(self.path.read_text())

    def test_a_mixed_file(self):
        self.write({"articles": MIXED})
        self.assertEqual(migrate(Store(self.path)), 4)
        self.assertEqual(self.read(), {"format": 2, "articles": MOVED})

    def test_a_second_run_changes_nothing(self):
        self.write({"articles": MIXED})
        migrate(Store(self.path))
        for _ in range(2):
            self.assertEqual(migrate(Store(self.path)), 0)
            self.assertEqual(self.read(), {"format": 2, "articles": MOVED})

    def test_a_file_that_is_all_new_but_does_not_say_so(self):
        self.write({"articles": MOVED})
        self.assertEqual(migrate(Store(self.path)), 0)
        self.assertEqual(self.read(), {"format": 2, "articles": MOVED})

    def test_a_failure_leaves_the_file_as_it_was(self):
        broken = {"articles": [*MIXED, record("X", "X", [{"name": "s", "price": {"eur": 3}, "stock": 1}])]}
        self.write(broken)
        with self.assertRaises(Exception):
            migrate(Store(self.path))
        self.assertEqual(self.read(), broken)

    def test_lists_and_baskets_are_in_cents(self):
        self.write({"format": 2, "articles": MOVED})
        store = Store(self.path)
        wanted = [
            "Axe, s: 19.99",
            "Axe, l: 29.95",
            "Bolt, s: 0.07",
            "Clamp, s: 10.99 *",
            "Drill, s: 50.00 *",
            "Edge, s: 0.29 *",
            "File, s: 2.40",
        ]
        self.assertEqual(price_list(store), wanted)
        basket = Basket()
        basket.add(articles(store)["C"], "s", 3)
        self.assertEqual(basket.total(), 3297 + 490)
