"""The club's database is in metres, `migrate` brings any other there, and lists and badges follow."""

import hashlib
import json
import sqlite3
import tempfile
import unittest
from pathlib import Path

from strides import Club, badges, longest, migrate, ranking, totals

LIVE = "2024-09-14T18:00:00"
# fmt: off
WANTED = [
    200, 5000, 100, 17300, 6150, 10000, 21098, 5000, None, 100, 15700, 42195, 5000, 10000, 22350, 25850, 16250,
    20500, 17160, 800, 9000, 5000, 16800, 21098, 21098, 5000, 21098, 100, 21300, None, 800, 25450, 400, 16420,
    21098, 100, 10000, 60, 400, 15690, 10850, 12410, 200, 400, 5000, 800, None, 10200, 21098, 10000, 20800, 800,
    10120, 60, 20550, 21098, 400, 5000, 7850, 100500, 800, 800, 9400, 21098, 21098, 27650, 400, 10000, 5000,
    20900, 54000, 11350, 15460, 12050, 6600, 16500, 8750, None, 10000, 5000, 15300, 200, 10420, 10000, 800, 200,
    21098, 10000, 21098, 8300, None, 21098, 10000, 400, 10000, 60, 800, 60, 21098, 15220, 21098, 21098, 5000,
    10000,
]
# fmt: on
REST = "15b9017852a53a979a965daec6e894011b2dbf3c1c238c9877fb92026f6077ee"
# number, length, saved at; what the length is in metres if `done_to` is 3
MIXED = [
    (1, 5000, "2024-01-01T08:00:00", 5000),
    (2, 60, "2024-01-02T08:00:00", 60),
    (3, None, "2024-01-03T08:00:00", None),
    (4, 0.06, "2024-01-04T08:00:00", 60),
    (6, 100.5, "2024-01-05T08:00:00", 100500),
    (7, 10.01, "2024-09-14T17:59:59", 10010),
    (8, 400, "2024-09-14T18:00:00", 400),
    (9, None, "2024-02-01T08:00:00", None),
    (10, 8.2, "2024-02-02T08:00:00", 8200),
    (11, 21098, "2024-11-02T08:00:00", 21098),
]


class DataTest(unittest.TestCase):
    def rows(self, query):
        database = sqlite3.connect("file:data/club.db?mode=ro&immutable=1", uri=True)
        self.addCleanup(database.close)
        return database.execute(query).fetchall()

    def test_every_length_is_in_metres(self):
        self.assertEqual([length for (length,) in self.rows("SELECT length FROM runs ORDER BY id")], WANTED)

    def test_nothing_else_was_changed(self):
        rows = self.rows("SELECT id, runner, day, kind, saved_at FROM runs ORDER BY id")
        self.assertEqual(hashlib.sha256(json.dumps(rows).encode()).hexdigest(), REST)

    def test_the_database_knows_it(self):
        self.assertEqual(self.rows("SELECT * FROM meta ORDER BY key"), [("metres_live_since", LIVE), ("unit", "metres")])


class CodeTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "club.db"
        self.club = Club(self.path)

    def tearDown(self):
        self.club.close()

    def execute(self, *commands):
        database = sqlite3.connect(self.path)
        with database:
            for command, values in commands:
                database.execute(command, values)
        database.close()

    def lay(self, rows, **meta):
        rows = [(number, "Mona", saved[:10], "road", length, saved) for number, length, saved in rows]
        meta = {"unit": "km", **meta}
        self.execute(
            *(("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?)", row) for row in rows),
            *(("REPLACE INTO meta VALUES (?, ?)", pair) for pair in meta.items()),
        )

    def lengths(self):
        return [run.length for run in self.club.runs()]

    def test_old_and_new_rows_in_one_database(self):
        self.lay([row[:3] for row in MIXED], metres_live_since=LIVE, metres_done_to="3")
        self.assertEqual(migrate(self.club), 4)
        for _ in range(2):
            self.assertEqual(self.lengths(), [row[3] for row in MIXED])
            meta = [self.club.meta(key) for key in ("unit", "metres_live_since", "metres_done_to")]
            self.assertEqual(meta, ["metres", LIVE, None])
            self.assertEqual(migrate(self.club), 0)

    def test_a_migration_that_had_not_begun_when_the_new_version_went_live(self):
        rows = [(1, 5, "2024-01-01T08:00:00"), (2, 5000, LIVE), (3, None, LIVE), (4, 0.1, "2024-01-01T08:00:00")]
        self.lay(rows, metres_live_since=LIVE)
        self.assertEqual(migrate(self.club), 2)
        self.assertEqual(self.lengths(), [5000, 5000, None, 100])

    def test_a_database_that_the_new_version_never_saw(self):
        self.lay([(1, 5, "2024-01-01T08:00:00"), (2, 1.234, "2025-01-01T08:00:00")])
        self.assertEqual(migrate(self.club), 2)
        self.assertEqual(self.lengths(), [5000, 1234])

    def test_an_interruption_does_no_harm(self):
        self.lay([row[:3] for row in MIXED], metres_live_since=LIVE, metres_done_to="3")
        refuse = "CREATE TRIGGER no BEFORE UPDATE ON runs WHEN old.id = 7 BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        self.execute((refuse, ()))
        with self.assertRaises(Exception):
            migrate(self.club)
        self.club.close()
        self.execute(("DROP TRIGGER no", ()))
        self.club = Club(self.path)
        migrate(self.club)
        self.assertEqual(self.lengths(), [row[3] for row in MIXED])

    def test_lists_are_in_kilometres(self):
        for runner, kind, length in (("Mona", "road", 12340), ("Jari", "trail", 20080), ("Mona", "sprint", 60)):
            self.club.add(runner, "2024-01-02", kind, length)
        self.assertEqual(totals(self.club, "2024"), {"Mona": 12400, "Jari": 20080})
        self.assertEqual(ranking(self.club, "2024"), ["1. Jari 20.1 km", "2. Mona 12.4 km"])
        self.assertEqual((longest(self.club).length, ranking(self.club, "2023")), (20080, []))

    def test_badges_are_given_for_what_they_were_given_for(self):
        for runner, kind, length in (
            ("Ada", "road", 42194),
            ("Ada", "ultra", 50000),
            ("Ben", "trail", 42195),
            ("Cleo", "ultra", 50001),
            *(("Dan", "ultra", 99999) for _ in range(10)),
            *(("Eve", "sprint", 800) for _ in range(3)),
        ):
            self.club.add(runner, "2024-01-02", kind, length)
        given = [badges(self.club, runner) for runner in ("Ada", "Ben", "Cleo", "Dan", "Eve")]
        self.assertEqual(given, [[], ["marathon"], ["ultra"], ["ultra"], []])
        self.club.add("Dan", "2024-01-03", "sprint", 10)
        self.assertEqual(badges(self.club, "Dan"), ["thousand", "ultra"])
