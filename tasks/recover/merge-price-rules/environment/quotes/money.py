"""Amounts in euros, always whole cents."""

from decimal import ROUND_HALF_UP, Decimal

ZERO = Decimal("0.00")
_CENT = Decimal("0.01")


def percent_of(amount, percent):
    """`percent` per cent of `amount`, rounded to the cent, half up."""
    return (amount * percent / 100).quantize(_CENT, rounding=ROUND_HALF_UP)


def euros(amount):
    """An amount for people, such as ``1,234.50 EUR``."""
    return f"{amount:,.2f} EUR"
