"""Amounts of money as the bank writes them."""

from decimal import Decimal


def parse_amount(text):
    """An amount as a `Decimal` with two decimals. `ValueError` if it is none."""
    try:
        return Decimal(text)
    except ArithmeticError:
        raise ValueError(f"not an amount: {text!r}") from None
