"""Hours and wages from time sheets."""

from shifts.pay import night_minutes, wages, worked
from shifts.timesheet import Shift, TimesheetError, read_timesheet
from shifts.zones import UnknownZone, zone

__all__ = ["Shift", "TimesheetError", "UnknownZone", "night_minutes", "read_timesheet", "wages", "worked", "zone"]
