import datetime
import unittest

from nightmail import BadSetting, Event, Settings, compose, is_quiet, load, next_delivery, profiles
from nightmail.__main__ import describe

MIDNIGHT = datetime.datetime(2024, 3, 5)


class SettingsTest(unittest.TestCase):
    def test_profiles(self):
        self.assertEqual(profiles(), ["field", "night", "office"])

    def test_office(self):
        self.assertEqual(
            describe(load("office")), "limit = 50\nsubject = Office digest\nkinds = all\nquiet = 21:30-06:15"
        )

    def test_night(self):
        self.assertEqual(load("night"), Settings(5, "Night watch", ("alarm",), None))

    def test_unknown(self):
        with self.assertRaises(BadSetting):
            load("weekend")


class DigestTest(unittest.TestCase):
    def test_the_latest(self):
        events = [Event(MIDNIGHT.replace(hour=hour), "alarm", f"door {hour}") for hour in (3, 1, 2)]
        self.assertEqual(
            compose(events, Settings(limit=2, subject="Doors")),
            "Doors\n02:00 alarm: door 2\n03:00 alarm: door 3\n... and 1 more",
        )

    def test_quiet(self):
        settings = Settings(quiet=(datetime.time(22), datetime.time(6)))
        self.assertEqual([is_quiet(datetime.time(hour), settings) for hour in (21, 22, 5, 6)], [False, True, True, False])
        self.assertEqual(next_delivery(MIDNIGHT.replace(hour=23), settings), MIDNIGHT.replace(day=6, hour=6))


if __name__ == "__main__":
    unittest.main()
