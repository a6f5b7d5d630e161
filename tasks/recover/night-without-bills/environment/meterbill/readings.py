"""Readings: `number;kilowatt-hours` a line, sent by the meters themselves after midnight."""

import logging
from collections.abc import Iterable

log = logging.getLogger("readings")


def read_readings(lines: Iterable[str]) -> dict[str, int]:
    """Meter number → reading. The first of two readings of a meter counts; decimals are cut off, as the law has it."""
    found: dict[str, int] = {}
    for line in lines:
        if not line.strip():
            continue
        number, _, value = line.strip().partition(";")
        if number in found:
            log.info("meter %s sent %s as well, kept %d", number, value, found[number])
            continue
        found[number] = int(value.partition(",")[0])
        log.debug("meter %s at %d", number, found[number])
    return found
