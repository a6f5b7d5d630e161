"""The meters we know, and how far each of them has counted."""

import copy
import logging

from meterbill.orders import Order

log = logging.getLogger("registry")

DAILY_LIMIT = 400
"""Kilowatt-hours that no household can use in a day: the main fuse would have blown."""


class UnknownMeter(Exception):
    """There is no meter with this number."""


class Backwards(Exception):
    """A meter counts less than it did yesterday."""


class Implausible(Exception):
    """A meter says that more was used than can have been."""


class Meter:
    """One meter: whose it is, and where its register stands.

    `carried` is what was used on an old register since the last bill, when the register was exchanged in between.
    """

    def __init__(self, number: str, customer: str, last: int) -> None:
        self.number = number
        self.customer = customer
        self.last = last
        self.carried = 0


class Registry:
    """All meters, by number. Numbers are text, as printed on the meter."""

    def __init__(self) -> None:
        self._meters: dict[str, Meter] = {}

    def add(self, meter: Meter) -> None:
        """Take a meter in."""
        self._meters[meter.number] = meter
        log.debug("meter %s of customer %s stands at %d", meter.number, meter.customer, meter.last)

    def meter(self, number: str) -> Meter:
        """The meter with this number; raises `UnknownMeter`."""
        if number not in self._meters:
            raise UnknownMeter(f"no meter {number}")
        return self._meters[number]

    def numbers(self) -> list[str]:
        """All numbers, sorted."""
        return sorted(self._meters)

    def exchange(self, order: Order) -> None:
        """The register of a meter was exchanged: the old one closed at `order.closing`, the new one begins at 0."""
        meter = self.meter(order.meter)
        meter.carried += order.closing - meter.last
        meter.last = 0
        log.info("order %s: meter %s closed at %d, new register from 0", order.number, order.meter, order.closing)

    def advance(self, number: str, reading: int) -> int:
        """Set a meter to today's reading and return the kilowatt-hours used since the last one.

        Raises `Backwards` or `Implausible`, and leaves the meter as it was.
        """
        meter = self.meter(number)
        if reading < meter.last:
            raise Backwards(f"meter {number}: {reading} after {meter.last}")
        used = meter.carried + reading - meter.last
        if used > DAILY_LIMIT:
            raise Implausible(f"meter {number}: {used} kWh in a day, at most {DAILY_LIMIT} can be")
        meter.last, meter.carried = reading, 0
        return used

    def remember(self) -> dict[str, Meter]:
        """A copy of all meters, for `restore`."""
        return copy.deepcopy(self._meters)

    def restore(self, meters: dict[str, Meter]) -> None:
        """Go back to what `remember` returned."""
        self._meters = meters
