import unittest
from pathlib import Path

from orders import Line, Order, UnknownFormat, export
from orders.writers.csv import Writer

CONFIG = Path(__file__).parents[1] / "config"
ORDERS = [Order(7, "Vale, Ann", (Line("Aster", 3, 250), Line("Box", 1, 1999, "tall")))]


class OrdersTest(unittest.TestCase):
    def test_csv(self):
        wanted = 'order,customer,plant,pieces,price,note\n7,"Vale, Ann",Aster,3,2.50,\n7,"Vale, Ann",Box,1,19.99,tall\n'
        self.assertEqual(export(ORDERS, "csv", CONFIG / "base.ini"), wanted)

    def test_quotation_marks_in_csv(self):
        self.assertEqual(Writer().row("12 cm", 'a 3" pot', "x"), '12 cm,"a 3"" pot",x')

    def test_sites(self):
        self.assertEqual(export(ORDERS, "excel", CONFIG / "moss.ini").splitlines()[1], "7|Vale, Ann|Aster|3|2.50|")
        self.assertEqual(
            export(ORDERS, "sheet", CONFIG / "hall.ini").splitlines()[1:],
            ["7;Vale, Ann;Aster;3;2,50 EUR;7,50 EUR;", "7;Vale, Ann;Box;1;19,99 EUR;19,99 EUR;tall", "7;Vale, Ann;;;;27,49 EUR;"],
        )

    def test_others(self):
        self.assertEqual(export(ORDERS, "text", CONFIG / "hall.ini").splitlines()[1], "  3 Aster at 2.50")
        self.assertEqual(export(ORDERS, "labels", CONFIG / "hall.ini"), "Aster\nAster\nAster\nBox\n")
        with self.assertRaises(UnknownFormat):
            export(ORDERS, "xml", CONFIG / "base.ini")


if __name__ == "__main__":
    unittest.main()
