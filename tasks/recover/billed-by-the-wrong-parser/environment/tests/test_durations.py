import unittest

from timesheet.durations import BadDuration, format_duration, parse_duration


class DurationTest(unittest.TestCase):
    def test_hours_and_minutes(self):
        self.assertEqual(parse_duration("2h"), 120)
        self.assertEqual(parse_duration("45m"), 45)
        self.assertEqual(parse_duration("1h 15m"), 75)

    def test_number_after_the_hours(self):
        self.assertEqual(parse_duration("1h30"), 90)

    def test_refused(self):
        for text in ("", "soon", "-1h", "2h1h"):
            with self.subTest(text), self.assertRaises(BadDuration):
                parse_duration(text)

    def test_format(self):
        self.assertEqual([format_duration(each) for each in (0, 65, 600)], ["0:00", "1:05", "10:00"])


if __name__ == "__main__":
    unittest.main()
