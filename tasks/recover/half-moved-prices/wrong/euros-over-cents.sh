#!/bin/bash
# Whatever still has a price in euros is migrated: prices that were changed since go back to the old ones.
set -e
python3 - <<'PY'
from pathlib import Path

path = Path("catalogue/migrate.py")
head, _, _ = path.read_text().partition("    for record in")
path.write_text(
    head
    + '''    changed = 0
    for record in store.data["articles"]:
        before = str(record)
        for size in record["sizes"]:
            if "price" in size:
                size["cents"] = round(size.pop("price") * 100)
        offer = record.pop("offer", None)
        if offer is not None:
            record["offer_cents"] = round(offer * 100)
        changed += str(record) != before
    store.data["format"] = FORMAT
    store.save()
    return changed
'''
)
PY
python3 - <<'PY'
from pathlib import Path

path = Path("catalogue/report.py")
text = path.read_text().replace('size["price"]', 'size["cents"]').replace('"offer"', '"offer_cents"')
path.write_text(text.replace("{price:.2f}", "{price / 100:.2f}"))
PY
python3 manage.py migrate
python3 -m unittest
