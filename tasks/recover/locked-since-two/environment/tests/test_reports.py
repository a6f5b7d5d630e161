import logging
import unittest

from reports import Cancelled, Locked, Runner, Store, Unprintable, row_text


class ReportsTest(unittest.TestCase):
    def setUp(self):
        logging.disable(logging.CRITICAL)
        self.store = Store()
        self.store.create("orders", "id", "item", "price")
        self.store.append("orders", (1, "cup", 2.5), (2, "jar", 4.0), (3, "lid|red", None))
        self.runner = Runner(self.store, most=2)

    def test_a_report(self):
        job = self.runner.submit("orders")
        self.runner.run()
        self.assertEqual(job.state, "done")
        self.assertEqual(job.lines, ["ID | ITEM | PRICE", "1 | cup | 2.50", "2 | jar | 4.00", "3 | lid/red | -"])

    def test_nobody_writes_while_a_report_is_made(self):
        self.runner.submit("orders")
        self.runner.turn()
        with self.assertRaises(Locked):
            self.store.append("orders", (4, "pot", 9.0))
        self.runner.run()
        self.store.append("orders", (4, "pot", 9.0))

    def test_a_cancelled_job_keeps_its_lines(self):
        job = self.runner.submit("orders")
        self.runner.turn()
        job.cancel()
        self.assertEqual((job.state, len(job.lines)), ("cancelled", 3))
        with self.assertRaises(Cancelled):
            job.step(self.store, 1)

    def test_rewrite(self):
        self.assertEqual(self.store.rewrite("orders", lambda row: (row[0], row[1], row[2] or 1.0)), 1)

    def test_unprintable(self):
        with self.assertRaises(Unprintable):
            row_text((1, [2]))


if __name__ == "__main__":
    unittest.main()
