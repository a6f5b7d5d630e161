"""Numbers as the senders write them, always exact."""

from decimal import ROUND_HALF_UP, Decimal

_CENT = Decimal("0.01")


def parse_number(value):
    """A number of an export as an exact `Decimal`, `None` if it is not known. `ValueError` if it is no number."""
    if isinstance(value, str):
        value = float(value)
    return Decimal(value)


def cents(amount):
    """Rounded to the cent, half up."""
    return amount.quantize(_CENT, rounding=ROUND_HALF_UP)
