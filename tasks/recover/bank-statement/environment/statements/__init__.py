"""Reads account statements and sums them up by category."""

from statements.amounts import parse_amount
from statements.reader import Booking, StatementError, read_statement
from statements.report import by_category, report

__all__ = ["Booking", "StatementError", "by_category", "parse_amount", "read_statement", "report"]
