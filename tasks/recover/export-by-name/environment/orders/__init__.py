"""Orders of a wholesale nursery, exported for the programs of others."""

from orders.export import export
from orders.loader import UnknownFormat, writer_for
from orders.model import Line, Order, read_orders

__all__ = ["Line", "Order", "UnknownFormat", "export", "read_orders", "writer_for"]
