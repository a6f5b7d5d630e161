"""Makes invoices out of orders."""

from billing.discounts import split
from billing.invoice import Invoice, Line, TaxRow, make_invoice
from billing.money import BadAmount, format_cents, parse_cents, percent_of
from billing.orders import Item, Order
from billing.render import render

__all__ = [
    "BadAmount",
    "Invoice",
    "Item",
    "Line",
    "Order",
    "TaxRow",
    "format_cents",
    "make_invoice",
    "parse_cents",
    "percent_of",
    "render",
    "split",
]
