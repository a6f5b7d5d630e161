#!/bin/bash
set -e
cat docs/durations.md timesheet/compat.py timesheet/_vendor/durations.py
# One parser, the one that knows days and fractions; the other module hands it on.
cat > timesheet/compat.py <<'PYTHON'
"""The parser of durations, for the rest of the package."""

from timesheet._vendor.durations import BadDuration, parse_duration

__all__ = ["BadDuration", "parse_duration"]
PYTHON
sed -i 's/(?:(?P<minutes>\\d+)m)?")$/(?:(?P<minutes>\\d+)m|(?<=h)(?P<bare>[0-5]?\\d))?")/' timesheet/_vendor/durations.py
sed -i 's/_CLOCK.match(compact) or _UNITS.match(compact)/_CLOCK.fullmatch(compact) or _UNITS.fullmatch(compact)/' timesheet/_vendor/durations.py
sed -i 's/_amount(parts\["minutes"\])/_amount(parts["minutes"] or parts.get("bare"))/' timesheet/_vendor/durations.py
cat > timesheet/durations.py <<'PYTHON'
"""Durations as people write them: ``1h 30m``."""

from timesheet._vendor.durations import BadDuration, parse_duration

__all__ = ["BadDuration", "format_duration", "parse_duration"]


def format_duration(minutes: int) -> str:
    """Minutes as hours and two digits of minutes, as in ``1:05``."""
    return f"{minutes // 60}:{minutes % 60:02d}"
PYTHON
python3 -m timesheet report hours.txt
python3 -m unittest
