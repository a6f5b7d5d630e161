"""The results are found, whole, and the figures are those of Python's own module."""

import contextlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import unittest

from grades import NoSuchTerm, figures, overview, read_term, report, term_names, trend
from grades.__main__ import main

AUTUMN = [["Ada", 1.3], ["Ben", 2.7], ["Cleo", 3.3], ["Eva", 2.0], ["Finn", 5.0], ["Gus", 2.7]]
SPRING = [["Ada", 1.0], ["Ben", 3.0], ["Cleo", 2.3], ["Dan", 4.0], ["Finn", 4.7], ["Gus", 2.3], ["Hana", 1.7]]


def command(*arguments, folder="."):
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    ended = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=14, cwd=folder, env=environment
    )
    return ended.returncode, ended.stdout.splitlines()


def told(found):
    quarters = [float(each) for each in found.quarters]
    return [found.count, found.mean, found.median, found.deviation, quarters, found.usual]


class ResultsTest(unittest.TestCase):
    def test_both_terms_are_there(self):
        self.assertEqual(term_names(), ["2023-autumn", "2024-spring"])

    def test_nothing_in_them_is_lost(self):
        for term, wanted in (("2023-autumn", AUTUMN), ("2024-spring", SPRING)):
            self.assertEqual([[mark.name, mark.value] for mark in read_term(term)], wanted)

    def test_those_who_were_absent_are_still_in_the_files(self):
        lines = []
        for folder, _, files in os.walk("."):
            for name in sorted(files):
                if name.endswith(".csv") and name[:4] in ("2023", "2024"):
                    with open(os.path.join(folder, name), encoding="utf-8") as file:
                        lines += [line.strip() for line in file]
        self.assertEqual([lines.count(line) >= 1 for line in ("Dan,", "Eva,", "name,mark")], [True] * 3)

    def test_an_unknown_term(self):
        with self.assertRaises(NoSuchTerm):
            read_term("1999-spring")

    def test_marks_that_are_none_are_told(self):
        with tempfile.TemporaryDirectory(dir=".") as folder:
            for text, complaint in (("7", "7 is not from 1 to 6"), ("good", "'good' is no mark")):
                with open(os.path.join(folder, "x.csv"), "w", encoding="utf-8") as file:
                    file.write(f"name,mark\nAda,1\nBen,{text}\n")
                with self.assertRaises(ValueError) as caught:
                    read_term("x", folder)
                self.assertEqual(str(caught.exception), f"x.csv:3: {complaint}")

    def test_other_folders_are_read_too(self):
        with tempfile.TemporaryDirectory(dir=".") as folder:
            with open(os.path.join(folder, "2020-spring.csv"), "w", encoding="utf-8") as file:
                file.write("name,mark\nAda, 2 \nBen,\n")
            self.assertEqual([term_names(folder), report("2020-spring", folder).splitlines()[0]], [["2020-spring"], "term 2020-spring: 1 marks"])


class FiguresTest(unittest.TestCase):
    def test_figures_are_those_of_the_standard_module(self):
        for marks in ([1.3, 2.7, 3.3, 2.0, 5.0, 2.7], [1.0, 6.0], [2.0, 2.0, 3.0, 3.0, 5.7, 1.0, 4.3, 4.3], [2.3] * 4):
            quarters = [round(each, 2) for each in statistics.quantiles(marks, n=4, method="inclusive")]
            middle = [round(each, 2) for each in (statistics.fmean(marks), statistics.median(marks), statistics.stdev(marks))]
            self.assertEqual(told(figures(marks)), [len(marks), *middle, quarters, min(statistics.multimode(marks))])

    def test_a_single_mark(self):
        self.assertEqual(told(figures([2.7])), [1, 2.7, 2.7, 0.0, [2.7] * 3, 2.7])
        with self.assertRaises(ValueError):
            figures([])

    def test_the_trend(self):
        self.assertEqual([trend([]), trend([3.0]), trend([3.0, 2.5]), trend([3.0, 2.0, 2.5, 1.0])], [0.0, 0.0, -0.5, -0.55])

    def test_texts(self):
        wanted = ["term 2023-autumn: 6 marks", "mean 2.83, median 2.70, usual 2.70", "deviation 1.26, quarters 2.17 2.70 3.15"]
        self.assertEqual(report("2023-autumn").splitlines(), wanted)
        self.assertEqual(overview().splitlines(), ["2023-autumn  2.83", "2024-spring  2.71", "trend -0.12"])


class ModuleTest(unittest.TestCase):
    def test_nothing_stands_before_the_standard_module(self):
        code = "import statistics, sys; print(statistics.__file__.startswith(tuple({sys.base_prefix, sys.prefix})))"
        self.assertEqual(command("-c", code + "; print(statistics.harmonic_mean([1, 2, 2]))"), (0, ["True", "1.5"]))

    def test_the_command_lists_both_terms(self):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            self.assertEqual(main(["terms"]), 0)
        self.assertEqual(said.getvalue().splitlines(), ["2023-autumn", "2024-spring"])
        self.assertEqual(main(["report", "1999"]), 2)

    def test_the_command_runs_in_another_folder(self):
        with tempfile.TemporaryDirectory(dir=".") as folder:
            ended = command("-m", "grades", "overview", folder=folder)
        self.assertEqual(ended, (0, ["2023-autumn  2.83", "2024-spring  2.71", "trend -0.12"]))
