#!/bin/bash
# What localtime.py is to do stands in the task and in timesheet.py's docstring, and what pay.py needs in its own.
set -e
cat > shifts/localtime.py <<'END'
"""From what the clock on the wall shows to UTC and back. All times are naive: local ones, or in UTC, as said.

When clocks are put back they show some times twice. Such a time means the first of the two, unless `second` is given,
which has no effect on a time that is shown once. When clocks are put forward they never show some times: those are
refused.
"""


def to_utc(zone, local, second=False):
    """The instant, in UTC, at which the clock in `zone` shows `local`.

    Raises:
        ValueError: it never does.
    """
    instants = sorted(local - offset for offset in zone.offsets if zone.offset_at(local - offset) == offset)
    if not instants:
        raise ValueError(f"in {zone.name} the clock never shows {local:%Y-%m-%d %H:%M}")
    return instants[-1 if second else 0]


def to_local(zone, instant):
    """What the clock in `zone` shows at an instant, given in UTC."""
    return instant + zone.offset_at(instant)
END
sed -i 's/    return to_utc(where, local)/    return to_utc(where, local, second=time.endswith("*"))/' shifts/timesheet.py
python3 - <<'END'
from pathlib import Path

path = Path("shifts/pay.py")
text = path.read_text()
text = text.replace("import timedelta\n", "import timedelta\n\nfrom shifts.localtime import to_local\n")
old = "    return sum(local.hour >= begins or local.hour < ends for local in [shift.start])\n"
assert old in text
path.write_text(
    text.replace(
        old,
        """    clock = (to_local(shift.zone, shift.start + timedelta(minutes=n)) for n in range(shift.minutes))
    return sum(local.hour >= begins or local.hour < ends for local in clock)
""",
    )
)
END
python3 -m unittest
