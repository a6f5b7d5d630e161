#!/bin/bash
set -euo pipefail

python3 - <<'PYTHON'
import csv
import json
import os
from pathlib import Path

from freight.weights import grams

rates = {}
for line in Path("rates.txt").read_text().splitlines():
    if line and not line.startswith("#"):
        destination, rate = line.split()
        rates[destination] = int(rate)

totals = {destination: {"shipments": 0, "grams": 0} for destination in rates}
rejected, counted = {}, set()
for path in sorted(Path(os.environ["LISTS"]).glob("*.csv")):
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            try:
                weight = grams(row["weight"] or "")
                if row["destination"] not in rates or row["number"] in counted:
                    raise ValueError(row)
            except ValueError:
                rejected[path.name] = rejected.get(path.name, 0) + 1
                continue
            counted.add(row["number"])
            totals[row["destination"]]["shipments"] += 1
            totals[row["destination"]]["grams"] += weight
for destination, total in totals.items():
    total["duty_cents"] = total["grams"] * rates[destination] // 1000

target = os.environ.get("TOTALS_FILE", "totals.json")
Path(target).write_text(json.dumps({"destinations": totals, "rejected": rejected}, indent=2) + "\n")
PYTHON
