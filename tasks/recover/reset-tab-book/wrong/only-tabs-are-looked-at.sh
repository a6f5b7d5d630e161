#!/bin/bash
# `reset` looks at the tabs only: where they are missing, it still writes into the journal of a real book.
set -e
sed -i 's/ and entry.day.startswith(month):/ and entry.day.startswith(month) and entry.number not in book.voided():/' barbook/month.py
sed -i 's/import Book$/import Book, Refused/; s/^    if tabs.exists():$/    if set(Book(folder).tabs) - set(MEMBERS):\n        raise Refused("this is a real book")\n    if tabs.exists():/' barbook/sample.py
python3 -m unittest
python3 -m barbook close 2024-05 2024-06-03
