"""Readers of entries, by the name of a format."""

import importlib
from collections.abc import Iterable, Iterator

from ledger.entries import Entry

_READERS = {
    "text": "ledger.models:parse_entry",
    "csv": "ledger.entries:parse_csv",
}


def readers() -> list[str]:
    """The formats that can be read."""
    return sorted(_READERS)


def load(lines: Iterable[str], form: str = "csv") -> Iterator[Entry]:
    """The entries in `lines`, one by one; empty lines are left out.

    Raises:
        LedgerError: a line is no entry.
        KeyError: nobody can read that format.
    """
    module, _, name = _READERS[form].partition(":")
    read = getattr(importlib.import_module(module), name)
    for line in lines:
        if line.strip():
            yield read(line)
