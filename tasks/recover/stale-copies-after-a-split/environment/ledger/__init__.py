"""Keeps books in several currencies."""

from ledger.book import Book
from ledger.currency import digits_of, register
from ledger.entries import Entry, parse_csv, parse_entry
from ledger.errors import LedgerError, Unbalanced, UnknownCurrency
from ledger.loaders import load, readers

__all__ = [
    "Book",
    "Entry",
    "LedgerError",
    "Unbalanced",
    "UnknownCurrency",
    "digits_of",
    "load",
    "parse_csv",
    "parse_entry",
    "readers",
    "register",
]
