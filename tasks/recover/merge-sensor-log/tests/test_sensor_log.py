"""Units and gaps, alone and where they meet."""

import hashlib
import unittest

from telemetry import read_log, summarize
from telemetry.__main__ import main
from telemetry.readings import LogError
from telemetry.report import report
from telemetry.stations import height_of, names, unit_of
from telemetry.units import to_standard


def log(station, quantity, *values):
    return "\n".join(f"2024-03-02T{hour:02}:00 {station} {quantity} {value}" for hour, value in enumerate(values))


def figures(text):
    return [
        (each.quantity, *(None if figure is None else round(figure, 6) for figure in (each.lowest, each.mean, each.highest)))
        for each in summarize(read_log(text))
    ]


class SensorLogTest(unittest.TestCase):
    """Kiel measures in F, mmHg and kn, Brocken its wind in km/h, Emden all in standard units."""

    def test_all_stations_are_known_with_height_and_units(self):
        self.assertEqual(list(names()), ["brocken", "emden", "husum", "kiel", "list"])
        self.assertEqual([height_of(each) for each in names()], [1134, 1, 12, 27, 26])
        units = [unit_of(each, "wind") for each in names()]
        self.assertEqual(units, ["km/h", "m/s", "kn", "kn", "m/s"])
        self.assertEqual((unit_of("kiel", "temperature"), unit_of("kiel", "pressure")), ("F", "mmHg"))

    def test_units_are_converted(self):
        pairs = [("temperature", 50, "F"), ("pressure", 750, "mmHg"), ("wind", 10, "kn"), ("wind", 9, "km/h")]
        self.assertEqual([round(to_standard(*each), 6) for each in pairs], [10.0, 999.918, 5.144444, 2.5])
        with self.assertRaises(ValueError):
            to_standard("wind", 1, "hPa")

    def test_readings_have_standard_values_and_no_raw_ones(self):
        first, second = read_log(log("kiel", "temperature", "14", "-"))
        self.assertEqual((first.station, first.quantity, round(first.value, 6)), ("kiel", "temperature", -10.0))
        self.assertIsNone(second.value)
        self.assertFalse(hasattr(first, "raw"))

    def test_every_kind_of_gap_counts_and_is_left_out(self):
        text = log("emden", "wind", "4", "-", "", "-999", "6")
        self.assertEqual(figures(text), [("wind", 4.0, 5.0, 6.0)])
        self.assertEqual([each.gaps for each in summarize(read_log(text))], [3])

    def test_a_gap_is_found_before_it_is_converted(self):
        text = log("kiel", "temperature", "-999", "32", "50")
        self.assertEqual(figures(text), [("temperature", 0.0, 5.0, 10.0)])

    def test_zero_is_a_value(self):
        self.assertEqual(figures(log("brocken", "wind", "0", "36")), [("wind", 0.0, 5.0, 10.0)])
        self.assertEqual(report(summarize(read_log(log("emden", "temperature", "0", "-")))), "temperature: 0.0 / 0.0 / 0.0 C (1 gap)")

    def test_what_only_looks_like_a_gap_after_conversion_is_none(self):
        # -1766.2 F is -999 C.
        self.assertEqual(figures(log("kiel", "temperature", "-1766.2")), [("temperature", -999.0, -999.0, -999.0)])

    def test_the_report_has_units_and_gaps(self):
        lines = [log("brocken", "wind", "36", "-", "72"), log("kiel", "pressure", "-999", ""), log("list", "temperature", "1.3")]
        self.assertEqual(
            report(summarize(read_log("\n".join(lines)))).split("\n"),
            ["pressure: no data (2 gaps)", "temperature: 1.3 / 1.3 / 1.3 C", "wind: 10.0 / 15.0 / 20.0 m/s (1 gap)"],
        )

    def test_bad_lines_are_refused_with_their_number(self):
        for line in ("2024-03-01T00:00 atlantis wind 3", "2024-03-01T00:00 kiel wind 3 4", "2024-03-01T00:00 kiel rain 3",
                     "2024-03-01T00:00 kiel rain -", "2024-03-01T00:00 atlantis wind", "2024-03-01T00:00 kiel wind x", "noon kiel wind -"):
            with self.assertRaises(LogError) as caught:
                read_log("# a comment\n" + line)
            self.assertEqual(str(caught.exception).partition(":")[0], "line 2")

    def test_the_log_of_the_day_is_untouched_and_summed_up(self):
        with open("logs/kiel.log", "rb") as file:
            content = file.read()
        self.assertEqual(hashlib.sha256(content).hexdigest(), "1fef976cef5a09ada1fbe2992c06110e272a0e0ae0614c61f967726f835d421f")
        self.assertEqual(
            report(summarize(read_log(content.decode()))).split("\n"),
            ["pressure: 1010.9 / 1012.8 / 1015.1 hPa", "temperature: 2.5 / 5.0 / 7.5 C (1 gap)", "wind: 7.2 / 8.1 / 9.0 m/s (2 gaps)"],
        )
        self.assertEqual(main(["logs/kiel.log"]), 0)
