#!/bin/bash
# The instants of the changes follow from docs/clock-changes.md: what the clock showed, less the offset until then.
set -e
python3 - <<'END'
import json
import re
from datetime import datetime, timedelta
from pathlib import Path

path = Path("shifts/zones.json")
table = json.loads(path.read_text())
offsets = {name: entry["first"] for name, entry in table.items()}
for entry in table.values():
    entry["changes"] = []
for line in Path("docs/clock-changes.md").read_text().splitlines():
    row = [cell.strip() for cell in line.strip("|").split("|")]
    if row[0] in table:
        name, day, shown, _, minutes = row
        local = datetime.strptime(f"{day} {shown}", "%d %b %Y %H:%M")
        instant = local - timedelta(minutes=offsets[name])
        table[name]["changes"].append([f"{instant:%Y-%m-%dT%H:%M}", int(minutes)])
        offsets[name] = int(minutes)
text = json.dumps(table, indent=2)
path.write_text(re.sub(r'\[\s+("[^"]+"),\s+(-?\d+)\s+\]', r"[\1, \2]", text) + "\n")

path = Path("shifts/timesheet.py")
text = path.read_text()
start, end = text.index("        minutes = int("), text.index("        return minutes\n")
path.write_text(
    text[:start] + "        return int((self.end - self.start).total_seconds()) // 60\n" + text[end:].partition("\n")[2]
)

path = Path("shifts/localtime.py")
text = path.read_text()
text = text[: text.index("\n\ndef _offset(")].replace("_offsets = {}\n\n\n", "")
path.write_text(
    text.replace(
        "    return local - _offset(zone, local, second)\n",
        """    instants = sorted(local - offset for offset in zone.offsets if zone.offset_at(local - offset) == offset)
    if not instants:
        raise ValueError(f"in {zone.name} the clock never shows {local:%Y-%m-%d %H:%M}")
    return instants[-1 if second else 0]
""",
    )
)
END
cat shifts/zones.json
python3 -m unittest
