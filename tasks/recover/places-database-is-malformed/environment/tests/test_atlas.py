import unittest

from atlas import NoSuchPlace, countries, find, in_country


class AtlasTest(unittest.TestCase):
    def test_find(self):
        self.assertEqual(find("Bergen").country, "Norway")
        with self.assertRaises(NoSuchPlace):
            find("Atlantis")

    def test_countries(self):
        self.assertIn("Ecuador", countries())
        self.assertEqual(countries()[-1], "Switzerland")

    def test_in_country(self):
        self.assertEqual(sorted(place.name for place in in_country("Kenya")), ["Mombasa", "Nairobi"])


if __name__ == "__main__":
    unittest.main()
