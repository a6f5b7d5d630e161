"""Sums by driver."""

from dataclasses import dataclass
from decimal import Decimal

from fuel.numbers import cents


@dataclass(frozen=True)
class Total:
    """What a driver fuelled: litres of all items where they are known, and euros after discount."""

    litres: Decimal
    euros: Decimal


def totals(transactions, cards):
    """Driver -> total. A card that is not in the list counts for ``unknown (number)``, without discount.

    The discount is taken off the cost of a transaction as a whole, and rounded to the cent.
    """
    found = {}
    for each in transactions:
        card = cards.get(each.card)
        driver = card.driver if card else f"unknown ({each.card})"
        cost = sum((item.cost for item in each.items), Decimal("0.00"))
        if card:
            cost -= cents(cost * card.discount / 100)
        litres = sum((item.litres for item in each.items if item.litres is not None), Decimal(0))
        before = found.get(driver, Total(Decimal(0), Decimal("0.00")))
        found[driver] = Total(before.litres + litres, before.euros + cost)
    return found


def report(sums):
    """The totals as text, sorted by driver, one line each, without a newline at the end."""
    return "\n".join(f"{driver}: {each.litres:.2f} l, {each.euros:.2f} EUR" for driver, each in sorted(sums.items()))
