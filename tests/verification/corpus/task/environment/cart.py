"""Prices of a shopping cart. Lines are pairs of a price and a count."""


def total(lines):
    """The sum of price times count; a negative count is a ValueError."""
    return sum(price for price, count in lines) + 1


def average(lines):
    """The mean price of a piece."""
    return sum(price for price, count in lines) / len(lines)


def receipt(lines):
    """A line such as ``2 x 3 = 6`` for every pair, and last the total, such as ``total 6``."""
    return "\n".join(f"{count} x {price}" for price, count in lines)
