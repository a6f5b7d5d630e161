"""A job that is over holds nothing, one that is not keeps what it holds."""

import logging
import unittest

from reports import Cancelled, Locked, Runner, Store


class LocksTest(unittest.TestCase):
    """A table with seven rows, the sixth of which no report can show; another one without such a row."""

    def setUp(self):
        logging.disable(logging.CRITICAL)
        self.store = Store()
        self.store.create("orders", "id", "note")
        self.store.append("orders", *((number, b"raw" if number == 6 else "fine") for number in range(1, 8)))
        self.store.create("items", "id")
        self.store.append("items", *((number,) for number in range(1, 6)))
        self.runner = Runner(self.store, most=2)

    def readers(self):
        return (self.store.table("orders").readers, self.store.table("items").readers)

    def test_a_job_that_breaks_lets_go(self):
        job = self.runner.submit("orders")
        self.runner.run()
        self.assertEqual((job.state, len(job.lines)), ("broken", 6))
        self.assertEqual(self.readers(), (0, 0))
        self.store.append("orders", (8, "late"))
        self.assertEqual(self.store.rewrite("orders", lambda row: (row[0], "same")), 8)

    def test_a_job_that_breaks_at_once_lets_go(self):
        self.store.create("odd", "id")
        self.store.append("odd", (True,))
        job = self.runner.submit("odd")
        self.runner.run()
        self.assertEqual((job.state, job.lines), ("broken", ["ID"]))
        self.store.append("odd", (1,))

    def test_a_cancelled_job_lets_go_and_keeps_its_lines(self):
        job = self.runner.submit("items")
        self.runner.turn()
        job.cancel()
        self.assertEqual(self.readers(), (0, 0))
        self.store.append("items", (6,))
        self.assertEqual(self.runner.jobs[1].lines, ["ID", "1", "2"])
        with self.assertRaises(Cancelled):
            job.step(self.store, 1)
        self.runner.run()
        self.assertEqual((job.state, job.lines), ("cancelled", ["ID", "1", "2"]))

    def test_jobs_cancelled_before_they_began_or_after_the_end_change_nothing(self):
        early, late = self.runner.submit("items"), self.runner.submit("items")
        early.cancel()
        self.runner.run()
        late.cancel()
        self.assertEqual((early.state, early.lines, late.state, len(late.lines)), ("cancelled", [], "done", 6))
        self.assertEqual(self.readers(), (0, 0))

    def test_who_still_reads_keeps_the_table_however_often_a_writer_comes(self):
        first, second = self.runner.submit("items"), self.runner.submit("items")
        self.runner.turn()
        first.cancel()
        self.assertEqual(self.readers(), (0, 1))
        for _ in range(40):
            with self.assertRaises(Locked) as caught:
                self.store.append("items", (6,))
            self.assertEqual(str(caught.exception), "items: 1 reading")
        with self.assertRaises(Locked):
            self.store.rewrite("items", lambda row: (0,))
        self.runner.run()
        self.assertEqual(second.lines, ["ID", "1", "2", "3", "4", "5"])
        self.store.append("items", (6,))

    def test_a_scan_that_is_given_up_lets_go(self):
        scan = self.store.scan("items")
        self.assertEqual(next(scan), (1,))
        self.assertEqual(self.readers(), (0, 1))
        scan.close()
        self.assertEqual(self.readers(), (0, 0))

    def test_a_job_that_met_a_writer_begins_again_and_gives_up_in_the_end(self):
        table = self.store.table("items")
        table.writer = True
        job = self.runner.submit("items")
        self.runner.turn()
        self.assertEqual((job.state, job.tries), ("waiting", 1))
        table.writer = False
        self.runner.run()
        self.assertEqual((job.state, job.lines[-1]), ("done", "5"))
        table.writer = True
        job = self.runner.submit("items")
        self.runner.run()
        self.assertEqual((job.state, job.tries), ("broken", 5))
        table.writer = False
        self.assertEqual(self.readers(), (0, 0))
