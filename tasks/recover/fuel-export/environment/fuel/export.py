"""Reads exports of the fuel card company; docs/formats.md has what they promise."""

import json
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from fuel.numbers import cents, parse_number


class ExportError(ValueError):
    """This export cannot be used; says why."""


@dataclass(frozen=True)
class Item:
    """A part of a transaction; `litres` is `None` if not known, and `price` then that of the whole."""

    what: str
    litres: Decimal | None
    price: Decimal

    @property
    def cost(self):
        """In euros, rounded to the cent."""
        return cents(self.price if self.litres is None else self.litres * self.price)


@dataclass(frozen=True)
class Transaction:
    """One visit to a filling station."""

    id: int
    card: str
    day: date
    items: tuple[Item, ...]


def read_export(raw):
    """The transactions of an export, given as the bytes of its file.

    Raises:
        ExportError: it is no export, or was damaged on the way.
    """
    try:
        page = json.loads(raw.decode("utf-8"))
        return [_transaction(entry) for entry in page["transactions"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ExportError(f"no export: {type(error).__name__}: {error}") from error


def _transaction(entry):
    item = entry["item"]
    items = (Item(item["what"], parse_number(item["litres"]), parse_number(item["price"])),)
    return Transaction(entry["id"], entry["card"], date.fromisoformat(entry["day"]), items)
