"""What shifts come to."""

from datetime import timedelta

from shifts.localtime import to_local

NIGHT = (22, 6)
"""From which hour to which hour of the clock on the wall it is night."""
NIGHT_PERCENT = 25


def worked(shifts):
    """Person -> minutes, over all shifts."""
    minutes = {}
    for shift in shifts:
        minutes[shift.person] = minutes.get(shift.person, 0) + shift.minutes
    return minutes


def night_minutes(shift):
    """How many minutes of a shift were at night."""
    begins, ends = NIGHT
    clock = (to_local(shift.zone, shift.start + timedelta(minutes=n)) for n in range(shift.minutes))
    return sum(local.hour >= begins or local.hour < ends for local in clock)


def wages(shifts, cents_per_hour):
    """Person -> cents, night work at a quarter more, rounded half up once for each person."""
    hundredths = {}
    for shift in shifts:
        minutes = 100 * shift.minutes + NIGHT_PERCENT * night_minutes(shift)
        hundredths[shift.person] = hundredths.get(shift.person, 0) + minutes
    return {person: (2 * minutes * cents_per_hour + 6000) // 12000 for person, minutes in hundredths.items()}
