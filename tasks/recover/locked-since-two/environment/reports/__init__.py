"""Reports on tables that others write to at the same time."""

from reports.jobs import Cancelled, Job, Runner
from reports.render import Unprintable, header, row_text
from reports.store import Locked, Store, Table

__all__ = ["Cancelled", "Job", "Locked", "Runner", "Store", "Table", "Unprintable", "header", "row_text"]
