#!/bin/bash
set -e
python3 -m unittest || true
cat billing/discounts.py billing/invoice.py
# The total is right about its lines: it is the parts of the discount that do not add up.
python3 - <<'PYTHON'
from pathlib import Path

path = Path("billing/discounts.py")
text = path.read_text()
text = text.replace(
    "    return [round(amount * weight / total) for weight in weights]\n",
    """    exact = [abs(amount) * abs(weight) for weight in weights]
    parts = [each // abs(total) for each in exact]
    # A stable sort: the first of those that lost the same comes first.
    lost_most = sorted(range(len(parts)), key=lambda place: exact[place] % abs(total), reverse=True)
    for place in lost_most[: abs(amount) - sum(parts)]:
        parts[place] += 1
    return [-part for part in parts] if amount < 0 else parts
""",
)
path.write_text(text)
PYTHON
python3 -m unittest
