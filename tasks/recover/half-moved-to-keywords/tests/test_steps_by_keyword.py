"""Steps and their callers take keywords only, recipes are checked as a whole, and errors of steps come out as they are."""

import json
import tempfile
import unittest

from rowkit import BadRecipe, check, highlights, read_recipe, run, run_file, steps, summary

ROWS = [{"name": "pear ", "kilos": 7}, {"name": "plum", "kilos": ""}, {"name": "apple", "kilos": 12}]
PLAIN = [{"a": 2, "b": "x"}, {"a": 3, "b": "y"}, {"a": 2, "b": "z"}, {"a": 1, "b": "w"}]
OPTIONS = {
    "drop_empty": {"column": "a"},
    "fill": {"column": "a", "value": 5},
    "strip": {"columns": ["b"]},
    "number": {"column": "a", "digits": 1},
    "rename": {"names": {"a": "c"}},
    "sort": {"column": "a", "reverse": True},
    "top": {"column": "a", "count": 2, "keep_ties": True},
}


def letters(rows):
    return "".join(row["b"] for row in rows)


class StepTest(unittest.TestCase):
    def test_there_are_the_same_steps(self):
        self.assertEqual(steps.names(), sorted(OPTIONS))

    def test_every_step_takes_keywords(self):
        done = {name: list(steps.find(name)(PLAIN, **options)) for name, options in OPTIONS.items()}
        self.assertEqual(done["rename"][0], {"c": 2, "b": "x"})
        self.assertEqual([letters(done[name]) for name in ("sort", "top")], ["yxzw", "yxz"])
        self.assertEqual([done[name] for name in ("drop_empty", "fill", "strip", "number")], [PLAIN] * 4)

    def test_no_step_takes_a_dictionary(self):
        for name, options in OPTIONS.items():
            with self.subTest(name), self.assertRaises(TypeError):
                steps.find(name)(PLAIN, options)

    def test_no_step_takes_what_it_does_not_know(self):
        for name, options in OPTIONS.items():
            with self.subTest(name), self.assertRaises(TypeError):
                steps.find(name)(PLAIN, **options, colour="red")

    def test_old_names_are_gone(self):
        for name, options in (("number", {"column": "a", "places": 1}), ("top", {"column": "a", "n": 2})):
            with self.subTest(name), self.assertRaises(TypeError):
                steps.find(name)(PLAIN, **options)

    def test_defaults(self):
        self.assertEqual(letters(steps.find("sort")(PLAIN, column="a")), "wxzy")
        self.assertEqual(letters(steps.find("top")(PLAIN, column="a", count=2)), "yx")
        self.assertEqual(steps.find("number")([{"a": "7.46"}], column="a"), [{"a": 7.46}])
        self.assertEqual(steps.find("strip")([{"a": " 1 "}]), [{"a": "1"}])
        self.assertEqual(steps.find("fill")([{}], column="a"), [{"a": ""}])


class CallerTest(unittest.TestCase):
    def test_recipes_in_files(self):
        rows = run_file("recipes/harvest.json", "harvest.csv")
        self.assertEqual([row["weight"] for row in rows], [12.3, 7.5, 7.5])
        self.assertEqual([row["name"] for row in run_file("recipes/by-name.json", "harvest.csv")][0], "apple")

    def test_texts_about_a_table(self):
        self.assertEqual(summary(ROWS, "kilos"), "2 rows, kilos from 7 to 12")
        self.assertEqual(summary(ROWS[1:2], "kilos"), "no rows")
        rows = [{"name": " a", "kilos": 1}, {"name": "b ", "kilos": 1}, {"name": "c", "kilos": 0}]
        self.assertEqual(highlights(rows, "name", "kilos", 1), "a (1), b (1)")


class RecipeTest(unittest.TestCase):
    def refusal(self, *recipe, rows=PLAIN):
        told = []
        for refuse in (lambda: check(list(recipe)), lambda: run(list(recipe), rows)):
            with self.assertRaises(BadRecipe) as caught:
                refuse()
            told.append(str(caught.exception))
        self.assertEqual(told[0], told[1])
        return told[0]

    def test_an_unknown_option_is_refused(self):
        told = self.refusal({"step": "strip"}, {"step": "sort", "column": "a", "backwards": True})
        self.assertEqual((told[:15], "backwards" in told), ("step 2 (sort): ", True))

    def test_a_missing_option_is_refused(self):
        for entry, lacking in (({"step": "sort"}, "column"), ({"step": "top", "column": "a"}, "count")):
            told = self.refusal(entry)
            self.assertEqual((told.split(":")[0], lacking in told), (f"step 1 ({entry['step']})", True))

    def test_old_names_are_refused(self):
        self.refusal({"step": "number", "column": "a", "places": 1})
        self.refusal({"step": "top", "column": "a", "n": 1})

    def test_rows_cannot_be_given_in_a_recipe(self):
        self.refusal({"step": "strip", "rows": []})

    def test_nothing_runs_before_the_whole_recipe_is_checked(self):
        # The first step would fail on these rows.
        told = self.refusal({"step": "number", "column": "b"}, {"step": "sort"})
        self.assertEqual(told[:15], "step 2 (sort): ")

    def test_a_recipe_that_is_read_is_checked(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json", dir=".", encoding="utf-8") as file:
            json.dump([{"step": "fill", "value": 1}], file)
            file.flush()
            with self.assertRaises(BadRecipe):
                read_recipe(file.name)

    def test_an_unknown_step_is_refused(self):
        self.assertEqual(self.refusal({"step": "shuffle"}), "step 1 (shuffle): there is no such step")

    def test_errors_of_a_step_come_out_as_they_are(self):
        with self.assertRaises(TypeError) as caught:
            run([{"step": "sort", "column": "a"}], [{"a": 1}, {"a": "x"}])
        self.assertEqual("not supported between" in str(caught.exception), True)
        with self.assertRaises(TypeError):
            run([{"step": "top", "column": "a", "count": "two"}], PLAIN)
        with self.assertRaises(KeyError):
            run([{"step": "sort", "column": "c"}], PLAIN)
        with self.assertRaises(ValueError) as caught:
            run([{"step": "number", "column": "b"}], PLAIN)
        self.assertEqual("could not convert" in str(caught.exception), True)
