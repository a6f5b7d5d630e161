"""Works out an invoice: lines after discount, tax by rate, total."""

from dataclasses import dataclass
from decimal import Decimal

from billing.discounts import split
from billing.money import percent_of
from billing.orders import Order


@dataclass(frozen=True)
class Line:
    """One item. `net` is `amount` less its part of the discount."""

    name: str
    count: int
    amount: int
    net: int
    tax: Decimal


@dataclass(frozen=True)
class TaxRow:
    """What is taxed at one rate: the sum of those lines' `net`, and the tax on that sum."""

    rate: Decimal
    base: int
    tax: int


@dataclass(frozen=True)
class Invoice:
    """An order, worked out. All amounts are cents.

    The lines' `net` sum up to `net`, and so do the bases of `taxes`. `net` is what the items cost, less the discount.
    `total` is `net` and all tax.
    """

    number: str
    lines: tuple[Line, ...]
    discount: int
    net: int
    taxes: tuple[TaxRow, ...]
    total: int


def make_invoice(order: Order) -> Invoice:
    """The invoice for an order.

    The discount is shared out over the lines by what they cost. In an order with refunds among other items, only the
    other items share it; an order that has nothing but refunds shares it among those.

    Raises:
        ValueError: there is a discount, but nothing to take it off.
    """
    amounts = [item.amount for item in order.items]
    weights = [max(amount, 0) for amount in amounts] if max(amounts, default=0) > 0 else amounts
    parts = split(order.discount, weights)
    lines = tuple(
        Line(item.name, item.count, item.amount, item.amount - part, item.tax)
        for item, part in zip(order.items, parts, strict=True)
    )
    bases: dict[Decimal, int] = {}
    for line in lines:
        bases[line.tax] = bases.get(line.tax, 0) + line.net
    taxes = tuple(TaxRow(rate, base, percent_of(base, rate)) for rate, base in sorted(bases.items()))
    net = sum(line.net for line in lines)
    return Invoice(order.number, lines, order.discount, net, taxes, net + sum(row.tax for row in taxes))
