"""When subscribers are billed, and how much."""

from billing.dates import Plan, next_date, schedule
from billing.invoice import Invoice, invoices
from billing.split import split

__all__ = ["Invoice", "Plan", "invoices", "next_date", "schedule", "split"]
