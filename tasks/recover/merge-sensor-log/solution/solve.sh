#!/bin/bash
set -e
grep -rnE '^(<<<<<<<|=======|>>>>>>>)' . | sort
grep -rn '\braw\b' telemetry | sort
sed -i 's/each\.raw\b/each.value/' telemetry/gaps.py
python3 - <<'END'
import json
import re
from pathlib import Path

CONFLICT = re.compile(r"<<<<<<< HEAD\n(.*?)=======\n(.*?)>>>>>>> gaps\n", re.DOTALL)


def resolve(name, *resolutions):
    """Put each resolution in the place of a conflict; `None` keeps both sides, ours first."""
    left = iter(resolutions)

    def chosen(match):
        resolution = next(left)
        return match[1] + match[2] if resolution is None else resolution

    path = Path(name)
    text = CONFLICT.sub(chosen, path.read_text())
    assert next(left, "") == "" and "<<<<<<<" not in text, name
    path.write_text(text)


path = Path("telemetry/stations.json")
ours, theirs = (json.loads("{" + side + "}") for side in CONFLICT.search(path.read_text()).groups())
stations = {**theirs, **ours}
rows = [f"  {json.dumps(name)}: {json.dumps(stations[name])}" for name in sorted(stations)]
path.write_text("{\n" + ",\n".join(rows) + "\n}\n")

resolve(
    "telemetry/readings.py",
    """from telemetry.gaps import is_gap
from telemetry.stations import unit_of
from telemetry.units import to_standard
""",
    "    value: float | None  # in the standard unit of the quantity; None: a gap\n",
    '''    try:
        time, station, quantity, *rest = line.split()
        if len(rest) > 1:
            raise ValueError(f"too much after {rest[0]!r}")
        unit = unit_of(station, quantity)
        value = None if is_gap(rest) else to_standard(quantity, float(rest[0]), unit)
        return Reading(station, datetime.fromisoformat(time), quantity, value)
    except (KeyError, ValueError) as error:
        raise LogError(f"line {number}: {error}") from error
''',
)
resolve(
    "telemetry/summary.py",
    "from telemetry.gaps import without_gaps\nfrom telemetry.units import STANDARD\n\n",
    None,
    '''        values = [each.value for each in without_gaps(of_it)]
        gaps = len(of_it) - len(values)
        if values:
            figures = (min(values), sum(values) / len(values), max(values))
        else:
            figures = (None, None, None)
        summaries.append(Summary(quantity, *figures, STANDARD[quantity], gaps))
''',
)
resolve(
    "telemetry/report.py",
    '''def line(summary):
    """One line: ``wind: 1.0 / 2.5 / 4.0 m/s (2 gaps)``."""
    figures = "no data"
    if summary.mean is not None:
        figures = " / ".join(f"{each:.1f}" for each in (summary.lowest, summary.mean, summary.highest))
        figures += f" {summary.unit}"
    gaps = f" ({summary.gaps} gap{'s' if summary.gaps > 1 else ''})" if summary.gaps else ""
    return f"{summary.quantity}: {figures}{gaps}"
''',
)
resolve("tests/test_readings.py", "from telemetry.stations import height_of, names, unit_of\n", None)
END
python3 -m unittest
python3 -m telemetry logs/kiel.log
