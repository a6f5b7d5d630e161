"""Entries, and how they are written."""

from dataclasses import dataclass

from ledger.currency import to_units
from ledger.errors import LedgerError


@dataclass(frozen=True)
class Entry:
    """So much on one account, in the smallest unit of the currency."""

    account: str
    units: int
    currency: str


def parse_entry(line: str) -> Entry:
    """An entry such as ``cash -12.30 EUR``. The name of the account may have blanks in it.

    Raises:
        LedgerError: it is none, or its currency is unknown.
    """
    parts = line.rsplit(maxsplit=2)
    if len(parts) != 3:
        raise LedgerError(f"{line!r} is no entry")
    return Entry(parts[0], to_units(parts[1], parts[2]), parts[2])


def parse_csv(line: str) -> Entry:
    """An entry such as ``cash;-12.30;EUR``.

    Raises:
        LedgerError: it is none, or its currency is unknown.
    """
    parts = [part.strip() for part in line.split(";")]
    if len(parts) != 3 or not parts[0]:
        raise LedgerError(f"{line!r} is no entry")
    return Entry(parts[0], to_units(parts[1], parts[2]), parts[2])
