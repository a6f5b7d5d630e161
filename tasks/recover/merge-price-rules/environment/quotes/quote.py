"""Adds up a quote."""

from dataclasses import dataclass
from decimal import Decimal

<<<<<<< HEAD
from quotes.discounts import priced
from quotes.lines import PricedLine
from quotes.money import ZERO
=======
from quotes.catalog import price_of
from quotes.lines import Line
from quotes.loyalty import Customer, loyalty_discount
from quotes.money import ZERO

NOBODY = Customer("")
>>>>>>> loyalty


@dataclass(frozen=True)
class Quote:
    """What is offered, to whom, and for how much."""

<<<<<<< HEAD
    lines: tuple[PricedLine, ...]
    subtotal: Decimal
    total: Decimal


def make_quote(lines):
    """Price the lines, give bulk discounts, and add up.

    Raises:
        UnknownArticle: a line asks for something that is not in the catalog.
    """
    with_prices = tuple(priced(line) for line in lines)
    subtotal = sum((each.net for each in with_prices), ZERO)
    return Quote(with_prices, subtotal, subtotal)
=======
    lines: tuple[Line, ...]
    customer: Customer
    subtotal: Decimal
    loyalty: Decimal
    total: Decimal


def make_quote(lines, customer=NOBODY):
    """Price the lines, give the customer's loyalty discount, and add up.

    Raises:
        UnknownArticle: a line asks for something that is not in the catalog.
    """
    lines = tuple(lines)
    subtotal = sum((price_of(line.sku) * line.quantity for line in lines), ZERO)
    loyalty = loyalty_discount(lines, customer)
    return Quote(lines, customer, subtotal, loyalty, subtotal - loyalty)
>>>>>>> loyalty
