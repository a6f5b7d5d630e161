"""Exchange orders: what the fitters send in the evening, one line of fixed columns for each register exchanged.

The columns are those of docs/orders.md.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

log = logging.getLogger("orders")

_COLUMNS = {"number": (0, 8), "meter": (8, 13), "day": (14, 22), "closing": (22, 30), "remark": (30, None)}


@dataclass(frozen=True)
class Order:
    """One register exchanged."""

    number: str
    meter: str
    day: date
    closing: int
    remark: str = ""


def read_orders(lines: Iterable[str], day: date) -> list[Order]:
    """The orders that were carried out on `day`, in the order of the file; empty lines and remarks (`*`) are skipped.

    Raises ValueError for a line that is no order.
    """
    found = []
    for count, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("*"):
            continue
        log.debug("line %d: %r", count, line.rstrip("\n"))
        order = _parse(line.rstrip("\n"))
        if order.day == day:
            found.append(order)
        else:
            log.debug("order %s is of %s, not of %s", order.number, order.day, day)
    return found


def _parse(line: str) -> Order:
    cut = {name: line[first:last].strip() for name, (first, last) in _COLUMNS.items()}
    if not cut["number"].startswith("X") or not cut["closing"].isdigit():
        raise ValueError(f"no exchange order: {line!r}")
    return Order(
        number=cut["number"],
        meter=cut["meter"],
        day=datetime.strptime(cut["day"], "%Y%m%d").date(),
        closing=int(cut["closing"]),
        remark=cut["remark"],
    )
