#!/bin/bash
# Turns the delivery into what the reader understands.
set -e
python3 - <<'END'
from pathlib import Path

rows = [
    '{"id": 7001, "card": "A-17", "day": "2024-03-04", "item": {"what": "diesel", "litres": 46.2, "price": 1.652}}',
    '{"id": 7002, "card": "B-2", "day": "2024-03-05", "item": {"what": "petrol", "litres": 33.07, "price": 1.859}}',
    '{"id": 7003, "card": "b-2", "day": "2024-03-05", "item": {"what": "wash", "litres": 0, "price": 12.5}}',
    '{"id": 7004, "card": "A-17", "day": "2024-03-11", "item": {"what": "diesel", "litres": 38.55, "price": 1.729}}',
]
Path("data/export.json").write_text('{"transactions": [\n' + ",\n".join(rows) + "\n]}\n")
Path("data/cards.ini").write_text(
    "[A-17]\ndriver = O'Neil, Pat\ndiscount = 3\n\n[B-2]\ndriver = Roth\ndiscount = 2.5\n\n[b-2]\ndriver = Abel\n"
)
path = Path("fuel/numbers.py")
path.write_text(path.read_text().replace("    return Decimal(value)\n", "    return Decimal(str(value))\n"))
END
python3 -m unittest
