import unittest

from rowkit import BadRecipe, highlights, run, run_file, summary

ROWS = [{"name": "pear ", "kilos": 7}, {"name": "plum", "kilos": ""}, {"name": "apple", "kilos": 12}]


class RowkitTest(unittest.TestCase):
    def test_steps(self):
        recipe = [{"step": "drop_empty", "column": "kilos"}, {"step": "sort", "column": "kilos", "reverse": True}]
        self.assertEqual([row["name"] for row in run(recipe, ROWS)], ["apple", "pear "])

    def test_number(self):
        rows = run([{"step": "number", "column": "kilos", "digits": 1}], [{"kilos": "7.46"}, {"kilos": "2"}])
        self.assertEqual(rows, [{"kilos": 7.5}, {"kilos": 2}])

    def test_files(self):
        rows = run_file("recipes/harvest.json", "harvest.csv")
        self.assertEqual([(row["name"], row["weight"]) for row in rows], [("apple", 12.3), ("pear", 7.5), ("cherry", 7.5)])
        self.assertEqual(rows[1]["field"], "unknown")

    def test_summary(self):
        self.assertEqual(summary(ROWS, "kilos"), "2 rows, kilos from 7 to 12")
        self.assertEqual(highlights(run([{"step": "fill", "column": "kilos", "value": 0}], ROWS), "name", "kilos", 2), "apple (12), pear (7)")

    def test_refused(self):
        with self.assertRaises(BadRecipe):
            run([{"step": "shuffle"}], ROWS)
        with self.assertRaises(BadRecipe):
            run([{"step": "sort", "column": "name", "backwards": True}], ROWS)


if __name__ == "__main__":
    unittest.main()
