"""All places are there with all that the schema has about them, and what is made from the schema fits it."""

import contextlib
import hashlib
import io
import os
import unittest

from atlas import NoSuchPlace, _fields, connect, countries, find, highest, in_country, population_of, version
from atlas.__main__ import main
from tools import build_db, generate_fields

PLACES = [
    ["Bergen", "Norway", 291940, 12, False],
    ["Bern", "Switzerland", 134591, 540, True],
    ["Cusco", "Peru", 428450, 3399, False],
    ["Georgetown", "Guyana", 118363, 0, True],
    ["Guayaquil", "Ecuador", 2650288, 4, False],
    ["Lima", "Peru", 10092000, 154, True],
    ["Maseru", "Lesotho", 330760, 1600, True],
    ["Mombasa", "Kenya", 1208333, 50, False],
    ["Nairobi", "Kenya", 4397073, 1795, True],
    ["Oslo", "Norway", 717710, 23, True],
    ["Quito", "Ecuador", 1763275, 2850, True],
    ["Tromsø", "Norway", 77992, 10, False],
    ["Vaduz", "Liechtenstein", 5774, 455, True],
    ["Zermatt", "Switzerland", 5820, 1608, False],
]
KEPT = {
    "data/sources/africa.csv": "51bf93296caf5c1f",
    "data/sources/americas.csv": "15e882bf8d9a619d",
    "data/sources/europe.csv": "31c579dcf8cde8f4",
}


def command(*arguments):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        status = main(list(arguments))
    return status, said.getvalue().splitlines()


def told(place):
    return [place.name, place.country, place.population, place.elevation, place.capital]


class PlacesTest(unittest.TestCase):
    def test_every_place_is_there_whole(self):
        self.assertEqual([told(find(name)) for name, *_ in PLACES], PLACES)

    def test_nothing_else_is_there(self):
        self.assertEqual(countries(), sorted({country for _, country, *_ in PLACES}))
        names = [place.name for country in countries() for place in in_country(country)]
        self.assertEqual(sorted(names), [name for name, *_ in PLACES])
        with self.assertRaises(NoSuchPlace):
            find("Atlantis")

    def test_the_highest(self):
        self.assertEqual([place.name for place in highest(4)], ["Cusco", "Quito", "Nairobi", "Zermatt"])
        self.assertEqual([place.name for place in highest(99)][-2:], ["Guayaquil", "Georgetown"])

    def test_countries_add_up(self):
        self.assertEqual([population_of(each) for each in ("Norway", "Kenya", "Nowhere")], [1087642, 5605406, 0])

    def test_the_largest_comes_first(self):
        self.assertEqual([place.name for place in in_country("Norway")], ["Oslo", "Bergen", "Tromsø"])

    def test_the_database_is_of_the_schema_of_today(self):
        self.assertEqual(version(), 3)

    def test_the_commands(self):
        self.assertEqual(command("place", "Quito"), (0, ["Quito, Ecuador: 1763275 people, 2850 m, capital"]))
        self.assertEqual(command("highest", "1"), (0, ["Cusco, Peru: 428450 people, 3399 m"]))

    def test_what_is_made_from_the_schema_is_up_to_date(self):
        with open("atlas/_fields.py", encoding="utf-8") as file:
            self.assertEqual(file.read(), generate_fields.generate())
        values = [_fields.SCHEMA, _fields.NAME, _fields.COUNTRY, _fields.ELEVATION, _fields.POPULATION, _fields.CAPITAL]
        self.assertEqual(values, [3, 0, 1, 2, 3, 4])

    def test_the_tool_goes_on_working(self):
        self.assertEqual(build_db.build(False), 14)
        with open("data/sources/asia.csv", "w", encoding="utf-8") as file:
            file.write("name,country,population,elevation,capital\nLhasa,China,464736,3656,no\n")
        self.assertEqual(build_db.build(False), 15)
        self.assertEqual(told(find("Lhasa")), ["Lhasa", "China", 464736, 3656, False])
        os.unlink("data/sources/asia.csv")
        self.assertEqual(build_db.build(True), 14)

    def test_the_database_has_its_index(self):
        found = [row[1] for row in connect().execute("PRAGMA index_list(places)").fetchall()]
        self.assertEqual(sorted(found)[0], "places_by_country")

    def test_the_sources_are_as_they_were(self):
        found = {}
        for name in sorted(KEPT):
            with open(name, "rb") as file:
                found[name] = hashlib.sha256(file.read()).hexdigest()[:16]
        self.assertEqual(found, KEPT)
