"""Hours around changes of the clock, in all zones, in spring and autumn, in any order of asking."""

import unittest

from shifts import TimesheetError, night_minutes, read_timesheet, wages, worked


def minutes(*lines):
    return [shift.minutes for shift in read_timesheet("\n".join(lines))]


class ShiftHoursTest(unittest.TestCase):
    def test_ordinary_days_are_as_they_were(self):
        self.assertEqual(minutes("a berlin 2023-06-01 09:00 2023-06-01 17:30", "b new-york 2024-01-09 22:00 2024-01-10 06:00"), [510, 480])

    def test_spring_in_berlin(self):
        found = minutes(
            "a berlin 2023-03-26 00:00 2023-03-26 06:00",
            "a berlin 2023-03-25 22:00 2023-03-26 06:00",
            "a berlin 2023-03-26 01:30 2023-03-26 03:30",
            "a berlin 2023-03-26 01:00 2023-03-26 01:59",
            "a berlin 2023-03-26 03:00 2023-03-26 04:00",
            "a berlin 2024-03-31 01:59 2024-03-31 03:00",
        )
        self.assertEqual(found, [300, 420, 60, 59, 60, 1])

    def test_autumn_in_berlin(self):
        found = minutes(
            "a berlin 2023-10-28 22:00 2023-10-29 06:00",
            "a berlin 2023-10-29 00:00 2023-10-29 01:30",
            "a berlin 2023-10-29 01:30 2023-10-29 02:30",
            "a berlin 2023-10-29 01:30 2023-10-29 02:30*",
            "a berlin 2023-10-29 02:15 2023-10-29 02:15*",
            "a berlin 2023-10-29 02:45* 2023-10-29 03:00",
            "a berlin 2023-10-29 02:45 2023-10-29 03:00",
        )
        self.assertEqual(found, [540, 90, 60, 120, 60, 15, 75])

    def test_new_york_is_behind_utc(self):
        found = minutes(
            "b new-york 2023-03-12 00:00 2023-03-12 06:00",
            "b new-york 2023-03-12 01:30 2023-03-12 03:30",
            "b new-york 2023-03-12 03:00 2023-03-12 05:00",
            "b new-york 2023-11-05 00:30 2023-11-05 01:30",
            "b new-york 2023-11-05 00:30 2023-11-05 01:30*",
            "b new-york 2023-11-05 01:45* 2023-11-05 05:00",
            "b new-york 2023-11-04 22:00 2023-11-05 06:00",
        )
        self.assertEqual(found, [300, 60, 120, 60, 120, 195, 540])

    def test_half_an_hour_on_lord_howe(self):
        found = minutes(
            "c lord-howe 2023-04-01 22:00 2023-04-02 06:00",
            "c lord-howe 2023-04-02 01:15 2023-04-02 01:45",
            "c lord-howe 2023-04-02 01:15 2023-04-02 01:45*",
            "c lord-howe 2023-10-01 01:45 2023-10-01 02:45",
            "c lord-howe 2023-10-01 00:00 2023-10-01 06:00",
            "c lord-howe 2024-04-07 01:59* 2024-04-07 02:00",
        )
        self.assertEqual(found, [510, 30, 60, 30, 330, 1])

    def test_times_that_no_clock_shows_are_refused(self):
        for day in ("berlin 2023-03-26 02:00", "berlin 2023-03-26 02:59", "new-york 2024-03-10 02:30", "lord-howe 2023-10-01 02:15"):
            with self.assertRaises(TimesheetError) as caught:
                read_timesheet(f"\na {day} {day.split()[1]} 12:00")
            self.assertEqual(str(caught.exception).partition(":")[0], "line 2")

    def test_a_star_on_a_time_that_is_shown_once_changes_nothing(self):
        self.assertEqual(minutes("a berlin 2023-10-29 00:30* 2023-10-29 03:00*", "d kolkata 2023-10-29 02:30* 2023-10-29 04:30"), [210, 120])

    def test_what_was_asked_before_does_not_matter(self):
        lines = [
            "a berlin 2023-10-29 02:30* 2023-10-29 05:00",
            "a berlin 2023-10-29 02:30 2023-10-29 05:00",
            "d kolkata 2023-10-29 02:30 2023-10-29 05:00",
            "b new-york 2023-10-29 02:30 2023-10-29 05:00",
            "c lord-howe 2023-10-29 02:30 2023-10-29 05:00",
        ]
        starts = ["01:30", "00:30", "21:00", "06:30", "15:30"]
        for order in (1, -1):
            shifts = read_timesheet("\n".join(lines[::order]))
            self.assertEqual([f"{shift.start:%H:%M}" for shift in shifts], starts[::order])
            self.assertEqual([shift.minutes for shift in shifts], [150, 210, 150, 150, 150][::order])

    def test_a_shift_over_several_days_counts_the_change_between(self):
        self.assertEqual(minutes("a berlin 2023-03-24 12:00 2023-03-27 12:00", "a berlin 2023-10-27 12:00 2023-10-30 12:00"), [4260, 4380])

    def test_an_end_that_only_looks_later_is_refused(self):
        with self.assertRaises(TimesheetError):
            read_timesheet("a berlin 2023-10-29 02:20* 2023-10-29 02:40")
        self.assertEqual(minutes("a berlin 2023-10-29 02:40 2023-10-29 02:20*"), [40])

    def test_nights_and_wages(self):
        shifts = list(read_timesheet("a berlin 2023-03-25 20:00 2023-03-26 08:00\nb berlin 2023-10-28 20:00 2023-10-29 08:00"))
        self.assertEqual([night_minutes(shift) for shift in shifts], [420, 540])
        self.assertEqual(worked(shifts), {"a": 660, "b": 780})
        self.assertEqual(wages(shifts, 1603), {"a": 20438, "b": 24446})
