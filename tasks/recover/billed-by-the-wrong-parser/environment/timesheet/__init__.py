"""Adds up the hours that people note in text files."""

from timesheet.book import BadLine, Entry, read_entries
from timesheet.compat import BadDuration, parse_duration
from timesheet.report import invoice, report, totals

__all__ = [
    "BadDuration",
    "BadLine",
    "Entry",
    "invoice",
    "parse_duration",
    "read_entries",
    "report",
    "totals",
]
