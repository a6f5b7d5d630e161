#!/bin/bash
# Voids are looked for in the month itself: what was voided on the first of June is charged all the same.
set -e
python3 - <<'PY'
from pathlib import Path

path = Path("barbook/month.py")
path.write_text(
    path.read_text().replace(
        '''    for entry in book.entries:
        if entry.kind == "buy" and entry.day.startswith(month):
''',
        '''    of_month = [entry for entry in book.entries if entry.day.startswith(month)]
    voided = {entry.amount for entry in of_month if entry.kind == "void"}
    for entry in of_month:
        if entry.kind == "buy" and entry.number not in voided:
''',
    )
)
path = Path("barbook/sample.py")
path.write_text(
    path.read_text()
    .replace("import Book\n", "import Book, Refused\n")
    .replace(
        '''    tabs = folder / "tabs.json"
''',
        '''    there = Book(folder)
    if {*there.tabs, *(entry.member for entry in there.entries)} - set(MEMBERS):
        raise Refused("this is a real book")
    tabs = folder / "tabs.json"
''',
    )
)
PY
python3 -m unittest
python3 -m barbook close 2024-05 2024-06-03
