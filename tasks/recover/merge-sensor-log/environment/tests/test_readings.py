import unittest

from telemetry import read_log, summarize
from telemetry.readings import LogError
from telemetry.report import report
<<<<<<< HEAD
from telemetry.stations import names, unit_of
=======
from telemetry.stations import height_of, names
>>>>>>> gaps


class ReadingsTest(unittest.TestCase):
    def test_a_strange_line_is_refused(self):
        with self.assertRaises(LogError):
            read_log("2024-03-01T00:00 atlantis wind 3")

<<<<<<< HEAD
    def test_values_are_in_standard_units(self):
        values = [each.value for each in read_log("2024-03-01T00:00 kiel temperature 50")]
        self.assertEqual([round(each, 6) for each in values], [10.0])

    def test_the_unit_is_printed(self):
        text = report(summarize(read_log("2024-03-01T00:00 brocken wind 36\n2024-03-01T01:00 brocken wind 72")))
        self.assertEqual(text, "wind: 10.0 / 15.0 / 20.0 m/s")

    def test_husum(self):
        self.assertEqual(unit_of("husum", "wind"), "kn")
        self.assertIn("husum", names())
=======
    def test_gaps_are_counted_and_left_out(self):
        text = "2024-03-01T00:00 emden wind 3\n2024-03-01T01:00 emden wind -\n2024-03-01T02:00 emden wind"
        (summary,) = summarize(read_log(text))
        self.assertEqual((summary.lowest, summary.mean, summary.highest, summary.gaps), (3, 3, 3, 2))

    def test_nothing_but_gaps(self):
        text = report(summarize(read_log("2024-03-01T00:00 emden wind -999")))
        self.assertEqual(text, "wind: no data (1 gap)")

    def test_emden_and_list(self):
        self.assertEqual([height_of(each) for each in ("emden", "list")], [1, 26])
        self.assertEqual(names(), sorted(names()))
>>>>>>> gaps


if __name__ == "__main__":
    unittest.main()
