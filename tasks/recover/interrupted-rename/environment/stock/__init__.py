"""Counts what lies in warehouses."""

from stock.report import shortages, summary
from stock.warehouse import Full, Missing, Warehouse

__all__ = ["Full", "Missing", "Warehouse", "shortages", "summary"]
