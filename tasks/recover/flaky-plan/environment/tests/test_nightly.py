import unittest
from pathlib import Path

from nightly import CircularError, Job, fingerprint, order, plan_text, read_jobs, tag_report, workloads

JOBS = read_jobs((Path(__file__).parents[1] / "jobs.ini").read_text("utf-8"))


class NightlyTest(unittest.TestCase):
    def test_order_of_two(self):
        jobs = {"b": Job("b", 1), "a": Job("a", 1, frozenset({"b"}))}
        self.assertEqual(order(jobs), ["b", "a"])

    def test_a_circle(self):
        jobs = {"a": Job("a", 1, frozenset({"b"})), "b": Job("b", 1, frozenset({"a"}))}
        with self.assertRaises(CircularError):
            order(jobs)

    def test_the_first_job_of_the_night(self):
        self.assertIn(order(JOBS)[0], ("dump", "prices", "vacuum", "thumbnails"))
        self.assertLess(order(JOBS).index("dump"), order(JOBS).index("index"))

    def test_backups_are_made_before_reports(self):
        self.assertLess(order(JOBS).index("backup"), order(JOBS).index("report"))

    def test_all_minutes_are_somebodys(self):
        self.assertEqual(sum(workloads(JOBS, 3)), 146)

    def test_tags(self):
        self.assertEqual(tag_report(JOBS).split("\n")[0], "disk: backup, dump, thumbnails, vacuum")

    def test_tags_in_the_plan(self):
        tags = [line.partition(" [")[2] for line in plan_text(JOBS, 3).split("\n")]
        self.assertIn("disk]", tags)
        self.assertIn("network, vendor]", tags)

    def test_fingerprint(self):
        self.assertEqual(len(fingerprint(JOBS)), 8)
        self.assertEqual(fingerprint({"a": Job("a", 1)}), fingerprint({"a": Job("a", 1)}))


if __name__ == "__main__":
    unittest.main()
