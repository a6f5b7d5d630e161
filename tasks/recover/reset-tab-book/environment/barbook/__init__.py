"""The tabs of the club's bar: who bought what, who paid, and what the month comes to."""

from barbook.book import Book, OverLimit, Refused, Tab
from barbook.journal import Entry, read_journal
from barbook.month import close, fees
from barbook.sample import reset

__all__ = ["Book", "Entry", "OverLimit", "Refused", "Tab", "close", "fees", "read_journal", "reset"]
