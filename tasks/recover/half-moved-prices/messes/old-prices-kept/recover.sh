#!/bin/bash
set -e
sed -i 's/size.get("cents") or size\["price"\]/size["cents"]/' catalogue/articles.py
sed -i 's/size.get("cents", 0) or size\["price"\]/size["cents"]/; s/"offer"/"offer_cents"/g; s/{price:.2f}/{price \/ 100:.2f}/' catalogue/report.py
cat > catalogue/migrate.py <<'PY'
"""From format 1 to format 2 (docs/format.md): prices in cents instead of euros."""

import copy

from catalogue.store import FORMAT, Store


def migrate(store: Store) -> int:
    """Bring the file into format 2, and return how many articles were changed; the file is written once, at the end.

    What the file says of its format is not believed: it is looked through in any case.
    """
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
# Where cents were put in by hand beside newer ones, the later key of the two counts, as JSON is read.
python3 manage.py migrate
python3 manage.py prices
python3 -m unittest
