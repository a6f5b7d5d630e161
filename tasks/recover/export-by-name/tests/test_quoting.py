"""Every separated format quotes as promised, under every name, and is otherwise what it was."""

import csv
import io
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from orders import Line, Order, UnknownFormat, export

NOTE = 'say "now";\nor, later'
HALL = Path("config/hall.ini")


def orders():
    return [
        Order(7, 'Vale "V"', (Line("Aster", 3, 250, NOTE), Line("Box", 1, 1999, "a|b,c"))),
        Order(8, "Wood\rHill", (Line("Fern; tall", 2, 5),)),
    ]


class QuotingTest(unittest.TestCase):
    def test_hall(self):
        wanted = "\r\n".join([
            "Order;Customer;Plant;Pieces;Each;Total;Note",
            '7;"Vale ""V""";Aster;3;2,50 EUR;7,50 EUR;"say ""now"";\nor, later"',
            '7;"Vale ""V""";Box;1;19,99 EUR;19,99 EUR;a|b,c',
            '7;"Vale ""V""";;;;27,49 EUR;',
            '8;"Wood\rHill";"Fern; tall";2;0,05 EUR;0,10 EUR;',
            '8;"Wood\rHill";;;;0,10 EUR;',
            "",
        ])
        for name in ("csv", "sheet", "excel", "spreadsheet"):
            self.assertEqual(export(orders(), name, HALL), wanted)

    def test_the_command_that_they_run(self):
        command = [sys.executable, "-B", "-m", "orders", "config/hall.ini", "csv", "tests/orders.json"]
        done = subprocess.run(command, capture_output=True, timeout=8)
        rows = list(csv.reader(io.StringIO(done.stdout.decode(), newline=""), delimiter=";"))
        self.assertEqual([row[6] for row in rows], ["Note", 'in 3" pots', "first half on Monday;\nthe rest on Friday", ""])
        self.assertEqual([row[5] for row in rows], ["Total", "149,00 EUR", "105,00 EUR", "254,00 EUR"])

    def test_ours(self):
        wanted = "\n".join([
            "order,customer,plant,pieces,price,note",
            '7,"Vale ""V""",Aster,3,2.50,"say ""now"";\nor, later"',
            '7,"Vale ""V""",Box,1,19.99,"a|b,c"',
            '8,"Wood\rHill",Fern; tall,2,0.05,',
            "",
        ])
        for name in ("csv", "excel", "spreadsheet"):
            self.assertEqual(export(orders(), name, Path("config/base.ini")), wanted)

    def test_ours_with_another_separator(self):
        lines = export(orders(), "csv", Path("config/moss.ini")).split("\n")
        self.assertEqual(lines[0], "order|customer|plant|pieces|price|note")
        self.assertEqual(lines[3], '7|"Vale ""V"""|Box|1|19.99|"a|b,c"')

    def test_a_site_of_our_own(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "site.ini"
            path.write_text("[plugins]\nx = orders.contrib.hall:SheetWriter\n[aliases]\ny = x\nz = z2\nz2 = z\n")
            self.assertEqual(export(orders()[1:], "y", path).split("\r\n")[2], '8;"Wood\rHill";;;;0,10;')
            with self.assertRaises(UnknownFormat):
                export(orders(), "z", path)

    def test_formats_for_people_are_as_they_were(self):
        text = "7 Vale \"V\"\n  3 Aster at 2.50\n  1 Box at 19.99\n8 Wood\rHill\n  2 Fern; tall at 0.05\n"
        self.assertEqual(export(orders(), "text", HALL), text)
        self.assertEqual(export(orders(), "labels", HALL), "Aster\nAster\nAster\nBox\nFern; tall\nFern; tall\n")
        self.assertEqual(export(orders()[1:], "json", HALL).count('"note": ""'), 1)
