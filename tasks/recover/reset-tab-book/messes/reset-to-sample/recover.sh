#!/bin/bash
set -e
cat docs/members.md docs/journal.md
python3 - <<'PY'
from pathlib import Path

path = Path("barbook/month.py")
path.write_text(
    path.read_text().replace(
        '''        if entry.kind == "void":
            bought.pop(entry.member, None)
        elif entry.kind == "buy" and entry.day.startswith(month):
''',
        '''        if entry.kind == "buy" and entry.day.startswith(month) and entry.number not in book.voided():
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
# The real entries are those that count up without a break; everything after them was added since.
python3 - <<'PY'
import re
import shutil
from itertools import count, takewhile
from pathlib import Path

from barbook import Book, read_journal

entries = read_journal(Path("data/journal.txt").read_text().splitlines())
real = [entry for entry, number in takewhile(lambda pair: pair[0].number == pair[1], zip(entries, count(1)))]
book = Book(Path("/tmp/again"))
for name, balance, limit in re.findall(r"^\| (\w+) \| (-?[\d.]+) \| ([\d.]+) \|$", Path("docs/members.md").read_text(), re.M):
    book.join(name, round(float(limit) * 100), round(float(balance) * 100))
for entry in real:
    book.record(entry.day, entry.kind, entry.member, entry.amount, entry.note)
assert book.entries == real
for name in ("tabs.json", "journal.txt"):
    shutil.copyfile(f"/tmp/again/{name}", f"data/{name}")
PY
rm -r /tmp/again
tail -n 2 data/journal.txt
python3 -m barbook close 2024-05 2024-06-03
python3 -m barbook show
