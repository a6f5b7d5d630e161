#!/bin/bash
# Cuts the day off at the end of the month, from one date to the next: after a February it is the 28th for ever. The cents
# that are missing go to the first cost centre.
set -e
python3 - <<'END'
from pathlib import Path

path = Path("billing/dates.py")
text = path.read_text()
text = text.replace("from dataclasses", "from calendar import monthrange\nfrom dataclasses")
text = text.replace(
    "    return day.replace(year=day.year + years, month=month + 1)\n",
    """    year, month = day.year + years, month + 1
    return date(year, month, min(day.day, monthrange(year, month)[1]))
""",
)
path.write_text(text)
path = Path("billing/split.py")
text = path.read_text()
text = text.replace("    return {name: round", "    parts = {name: round")
text += """    first = min(weights)
    parts[first] += cents - sum(parts.values())
    return parts
"""
path.write_text(text)
END
python3 -m unittest
