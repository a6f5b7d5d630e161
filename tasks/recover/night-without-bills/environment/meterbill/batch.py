"""The night run: exchange orders first, then the bills, in batches that succeed or fail as a whole."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from meterbill.orders import read_orders
from meterbill.readings import read_readings
from meterbill.registry import Backwards, Implausible, Registry, UnknownMeter

log = logging.getLogger("batch")

CENTS_PER_KWH = 31
STANDING_CENTS = 42
ATTEMPTS = 3


@dataclass(frozen=True)
class Bill:
    """What a customer pays for a day, in cents."""

    customer: str
    meter: str
    used: int
    cents: int


def run_batch(name: str, numbers: Sequence[str], registry: Registry, readings: Mapping[str, int]) -> list[Bill]:
    """The bills of some meters. Raises what `Registry.advance` raises, and leaves all meters as they were."""
    before = registry.remember()
    bills = []
    try:
        for number in numbers:
            if number not in readings:
                log.info("batch %s: meter %s sent nothing, billed with the next reading", name, number)
                continue
            used = registry.advance(number, readings[number])
            customer = registry.meter(number).customer
            bills.append(Bill(customer, number, used, STANDING_CENTS + used * CENTS_PER_KWH))
            log.debug("batch %s: customer %s used %d kWh", name, customer, used)
    except (Backwards, Implausible, UnknownMeter):
        registry.restore(before)
        log.error("batch %s: rolled back, %d bills dropped", name, len(bills))
        raise
    log.info("batch %s: %d bills", name, len(bills))
    return bills


def run_night(
    day: date, registry: Registry, orders: Sequence[str], readings: Sequence[str], size: int = 40
) -> tuple[list[Bill], list[str]]:
    """All bills of a day, and the numbers of the meters whose batch failed for good.

    `orders` and `readings` are the lines of the two files; meters go in batches of `size`, by number.
    """
    known = read_readings(readings)
    for order in read_orders(orders, day):
        registry.exchange(order)
    bills: list[Bill] = []
    failed: list[str] = []
    numbers = registry.numbers()
    for first in range(0, len(numbers), size):
        batch, name = numbers[first : first + size], f"{first // size + 1:02}"
        for attempt in range(1, ATTEMPTS + 1):
            try:
                bills += run_batch(name, batch, registry, known)
                break
            except (Backwards, Implausible, UnknownMeter) as error:
                log.error("batch %s: attempt %d of %d failed: %s", name, attempt, ATTEMPTS, error, exc_info=True)
        else:
            failed += batch
            for number in batch:
                log.error("customer %s: no bill for %s, batch %s failed", registry.meter(number).customer, day, name)
    return bills, failed
