#!/bin/bash
# An article that has cents anywhere is taken to be migrated: the others in it are patched over where they are read.
set -e
python3 - <<'PY'
from pathlib import Path

path = Path("catalogue/migrate.py")
head, _, _ = path.read_text().partition("    for record in")
path.write_text(
    head
    + '''    old = [record for record in store.data["articles"] if not any("cents" in size for size in record["sizes"])]
    for record in old:
        for size in record["sizes"]:
            size["cents"] = round(size.pop("price") * 100)
        offer = record.pop("offer", None)
        if offer is not None:
            record["offer_cents"] = round(offer * 100)
    store.data["format"] = FORMAT
    store.save()
    return len(old)
'''
)
path = Path("catalogue/articles.py")
path.write_text(
    path.read_text().replace('size["cents"], size["stock"]', 'size.get("cents", round(size.get("price", 0) * 100)), size["stock"]')
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
