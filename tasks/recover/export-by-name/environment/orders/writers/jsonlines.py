"""One JSON object a line."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from orders.model import Order


class Writer:
    """One line for each order."""

    end = "\n"

    def lines(self, orders: Sequence[Order]) -> Iterator[str]:
        """The orders."""
        for order in orders:
            yield json.dumps(asdict(order), ensure_ascii=False)
