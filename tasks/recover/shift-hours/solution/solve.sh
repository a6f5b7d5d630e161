#!/bin/bash
set -e
cat docs/clock-changes.md shifts/zones.json
python3 - <<'END'
from pathlib import Path

path = Path("shifts/localtime.py")
text = path.read_text()
old = text[text.index("def _offset(") :]
assert old.count("\n") == 6
text = text.replace("\n\n" + old, "")
text = text.replace("_offsets = {}\n\n\n", "")
# An offset holds for a local time if it is the one of the instant that it leads to: for two instants when clocks are put
# back, for none when they are put forward.
text = text.replace(
    "    return local - _offset(zone, local, second)\n",
    """    instants = sorted(local - offset for offset in zone.offsets if zone.offset_at(local - offset) == offset)
    if not instants:
        raise ValueError(f"in {zone.name} the clock never shows {local:%Y-%m-%d %H:%M}")
    return instants[-1 if second else 0]
""",
)
path.write_text(text)
END
cat shifts/localtime.py
python3 -m unittest
