"""Invoices of a photographers' studio."""

from studio.book import InvoiceBook
from studio.invoice import invoice_text
from studio.job import Job, Line
from studio.tax import MixedRates, tax
from studio.terms import Terms, terms_for
from studio.travel import travel

__all__ = ["InvoiceBook", "Job", "Line", "MixedRates", "Terms", "invoice_text", "tax", "terms_for", "travel"]
