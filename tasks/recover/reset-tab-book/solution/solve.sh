#!/bin/bash
set -e
cat docs/journal.md barbook/month.py barbook/sample.py
python3 - <<'PY'
from pathlib import Path

path = Path("barbook/month.py")
path.write_text(
    path.read_text()
    .replace(
        '''    for entry in book.entries:
        if entry.kind == "buy" and entry.day.startswith(month):
''',
        '''    voided = book.voided()
    for entry in book.entries:
        if entry.kind == "buy" and entry.day.startswith(month) and entry.number not in voided:
''',
    )
)
path = Path("barbook/sample.py")
path.write_text(
    path.read_text()
    .replace("from barbook.book import Book\n", "from barbook.book import Book, Refused\n")
    .replace(
        '''    """Put the sample book into `folder`."""
''',
        '''    """Put the sample book into `folder`. Raises `Refused` if there is a book with other members."""
    there = Book(folder)
    others = {*there.tabs, *(entry.member for entry in there.entries)} - set(MEMBERS)
    if others:
        raise Refused(f"{folder} is the book of {', '.join(sorted(others))}")
''',
    )
)
PY
python3 -m unittest
python3 -m barbook fees 2024-05
python3 -m barbook close 2024-05 2024-06-03
