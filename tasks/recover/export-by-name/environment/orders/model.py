"""What an order is."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Line:
    """Some plants of a kind, at a price in cents each."""

    plant: str
    pieces: int
    cents: int
    note: str = ""


@dataclass(frozen=True)
class Order:
    """What a customer wants."""

    number: int
    customer: str
    lines: tuple[Line, ...]


def read_orders(path: Path) -> list[Order]:
    """The orders in a JSON file."""
    found = []
    for record in json.loads(path.read_text(encoding="utf-8")):
        lines = tuple(Line(each["plant"], each["pieces"], each["cents"], each.get("note", "")) for each in record["lines"])
        found.append(Order(record["number"], record["customer"], lines))
    return found
