import unittest

from grades import figures, overview, read_term, term_names


class GradesTest(unittest.TestCase):
    def test_terms(self):
        self.assertEqual(term_names(), ["2023-autumn", "2024-spring"])

    def test_the_absent_do_not_count(self):
        self.assertEqual([mark.name for mark in read_term("2023-autumn")], ["Ada", "Ben", "Cleo", "Eva", "Finn", "Gus"])

    def test_mean_and_median(self):
        found = figures([1.0, 2.0, 4.0])
        self.assertEqual((found.count, found.mean, found.median), (3, 2.33, 2.0))

    def test_overview(self):
        self.assertEqual(overview().splitlines()[:2], ["2023-autumn  2.83", "2024-spring  2.71"])


if __name__ == "__main__":
    unittest.main()
