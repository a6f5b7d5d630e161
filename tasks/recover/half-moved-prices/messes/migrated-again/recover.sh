#!/bin/bash
set -e
cat > catalogue/migrate.py <<'PY'
"""From format 1 to format 2 (docs/format.md): prices in cents instead of euros."""

import copy

from catalogue.store import FORMAT, Store


def migrate(store: Store) -> int:
    """Bring the file into format 2, and return how many articles were changed; the file is written once, at the end."""
    records = copy.deepcopy(store.data["articles"])
    for record in records:
        for size in record["sizes"]:
            _to_cents(size, "price", "cents")
        _to_cents(record, "offer", "offer_cents")
    changed = sum(old != new for old, new in zip(store.data["articles"], records, strict=True))
    if changed or store.format != FORMAT:
        store.data = {**store.data, "format": FORMAT, "articles": records}
        store.save()
    return changed


def _to_cents(holder: dict, old: str, new: str) -> None:
    """The old key goes in any case; what it held counts only if there is no newer price."""
    euros = holder.pop(old, None)
    if euros is not None and holder.get(new) is None:
        holder[new] = round(euros * 100)
PY
sed -i '/while price > 8000/,+1d' catalogue/report.py
# What was in cents before is a hundred times too much: nothing costs more than 80 euros, and nothing is free.
python3 - <<'PY'
import json
from pathlib import Path

path = Path("data/catalogue.json")
data = json.loads(path.read_text(encoding="utf-8"))
for record in data["articles"]:
    for size in record["sizes"]:
        if size["cents"] > 8000:
            size["cents"] //= 100
    if not record.get("offer_cents", 1):
        del record["offer_cents"]
    elif record.get("offer_cents", 0) > 8000:
        record["offer_cents"] //= 100
path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
PY
python3 manage.py migrate
python3 manage.py prices
python3 -m unittest
