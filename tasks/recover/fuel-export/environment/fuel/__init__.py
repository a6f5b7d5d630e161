"""What our drivers fuelled, and what it cost."""

from fuel.cards import Card, CardsError, read_cards
from fuel.export import ExportError, Item, Transaction, read_export
from fuel.numbers import parse_number
from fuel.report import Total, report, totals

__all__ = [
    "Card",
    "CardsError",
    "ExportError",
    "Item",
    "Total",
    "Transaction",
    "parse_number",
    "read_cards",
    "read_export",
    "report",
    "totals",
]
