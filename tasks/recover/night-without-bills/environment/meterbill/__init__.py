"""Bills for electricity: what the meters say, day by day, priced and sent out in batches."""

from meterbill.batch import Bill, run_batch, run_night
from meterbill.orders import Order, read_orders
from meterbill.readings import read_readings
from meterbill.registry import Backwards, Implausible, Meter, Registry, UnknownMeter

__all__ = [
    "Backwards",
    "Bill",
    "Implausible",
    "Meter",
    "Order",
    "Registry",
    "UnknownMeter",
    "read_orders",
    "read_readings",
    "run_batch",
    "run_night",
]
