#!/bin/bash
set -e
cat docs/format.md catalogue/migrate.py catalogue/report.py
cat > catalogue/migrate.py <<'PY'
"""From format 1 to format 2 (docs/format.md): prices in cents instead of euros."""

import copy

from catalogue.store import FORMAT, Store


def migrate(store: Store) -> int:
    """Bring the file into format 2, and return how many articles were changed.

    Works on files that are partly in format 2. The file is written once, at the end.
    """
    if store.format == FORMAT:
        return 0
    migrated = [_migrated(record) for record in store.data["articles"]]
    changed = sum(old != new for old, new in zip(store.data["articles"], migrated, strict=True))
    store.data = {**store.data, "format": FORMAT, "articles": migrated}
    store.save()
    return changed


def _migrated(record: dict) -> dict:
    record = copy.deepcopy(record)
    for size in record["sizes"]:
        _to_cents(size, "price", "cents")
    _to_cents(record, "offer", "offer_cents")
    return record


def _to_cents(holder: dict, old: str, new: str) -> None:
    """The old key goes in any case; what it held counts only if there is no newer price."""
    euros = holder.pop(old, None)
    if euros is not None and holder.get(new) is None:
        holder[new] = round(euros * 100)
PY
python3 - <<'PY'
from pathlib import Path

path = Path("catalogue/report.py")
path.write_text(
    path.read_text()
    .replace('size["price"]', 'size["cents"]')
    .replace('''record.get("offer") is not None and record["offer"] < price''',
             '''record.get("offer_cents") is not None and record["offer_cents"] < price''')
    .replace('record["offer"], " *"', 'record["offer_cents"], " *"')
    .replace("{price:.2f}", "{price / 100:.2f}")
)
PY
python3 manage.py migrate
python3 manage.py prices
python3 -m unittest
