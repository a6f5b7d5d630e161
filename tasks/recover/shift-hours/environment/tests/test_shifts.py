import unittest

from shifts import TimesheetError, night_minutes, read_timesheet, wages, worked


class ShiftsTest(unittest.TestCase):
    def test_an_ordinary_day(self):
        (shift,) = read_timesheet("bert berlin 2023-06-01 09:00 2023-06-01 17:30")
        self.assertEqual((shift.minutes, night_minutes(shift)), (510, 0))
        self.assertEqual(wages([shift], 1600), {"bert": 13600})

    def test_the_early_shift_of_26_march(self):
        (shift,) = read_timesheet("anna berlin 2023-03-26 00:00 2023-03-26 06:00")
        self.assertEqual(shift.minutes, 300)

    def test_mixed_sites(self):
        sheet = """
            anna  berlin  2023-05-02 22:00 2023-05-03 06:00
            chitra kolkata 2023-05-03 09:00 2023-05-04 09:00
        """
        first, second = read_timesheet(sheet)
        self.assertEqual((first.minutes, second.minutes), (480, 1440))
        self.assertEqual(f"{second.start:%H:%M} {second.end:%H:%M}", "03:30 03:30")

    def test_worked(self):
        sheet = "bert berlin 2023-06-01 09:00 2023-06-01 10:00\nbert berlin 2023-06-02 09:00 2023-06-02 09:15"
        self.assertEqual(worked(read_timesheet(sheet)), {"bert": 75})

    def test_a_shift_has_to_end(self):
        with self.assertRaises(TimesheetError):
            read_timesheet("bert berlin 2023-06-01 09:00 2023-06-01 09:00")


if __name__ == "__main__":
    unittest.main()
