import tempfile
import unittest
from pathlib import Path

from strides import Club, badges, longest, migrate, ranking, totals


class StridesTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.club = Club(Path(folder.name) / "club.db")
        self.addCleanup(self.club.close)

    def old(self, *lengths, **meta):
        """A database as version 2 wrote it."""
        with self.club.database:
            for number, length in enumerate(lengths, 1):
                self.club.database.execute(
                    "INSERT INTO runs VALUES (?, 'Mona', '2023-05-01', 'road', ?, '2023-05-01T20:00:00')", (number, length)
                )
            for key, value in {"unit": "km", **meta}.items():
                self.club.database.execute("REPLACE INTO meta VALUES (?, ?)", (key, value))

    def lengths(self):
        return [run.length for run in self.club.runs()]

    def test_migrate(self):
        self.old(5, 10.55, 0.4)
        self.assertEqual(migrate(self.club), 3)
        self.assertEqual(self.lengths(), [5000, 10550, 400])
        self.assertEqual((migrate(self.club), self.club.meta("unit")), (0, "metres"))

    def test_migrate_goes_on_where_it_was_interrupted(self):
        self.old(5000, 10550, 0.4, 21.1, metres_done_to="2")
        self.assertEqual(migrate(self.club), 2)
        self.assertEqual(self.lengths(), [5000, 10550, 400, 21100])

    def test_what_was_not_measured_stays_so(self):
        self.old(5, None, 3)
        migrate(self.club)
        self.assertEqual(self.lengths(), [5000, None, 3000])

    def test_ranking(self):
        self.club.add("Mona", "2024-01-02", "road", 12340)
        self.club.add("Jari", "2024-01-03", "trail", 20000)
        self.club.add("Mona", "2024-02-02", "road", 10000)
        self.assertEqual(totals(self.club, "2024"), {"Mona": 22340, "Jari": 20000})
        self.assertEqual(ranking(self.club, "2024"), ["1. Mona 22.3 km", "2. Jari 20.0 km"])

    def test_badges(self):
        self.club.add("Mona", "2024-01-02", "road", 42195)
        self.club.add("Jari", "2024-01-02", "road", 10000)
        self.assertEqual((badges(self.club, "Mona"), badges(self.club, "Jari")), (["marathon"], []))
        self.assertEqual(longest(self.club).runner, "Mona")

    def test_correct(self):
        number = self.club.add("Mona", "2024-01-02", "sprint", 100)
        self.club.correct(number, 200)
        self.assertEqual(self.lengths(), [200])
        with self.assertRaises(KeyError):
            self.club.correct(99, 1)


if __name__ == "__main__":
    unittest.main()
