"""Bulk discounts: more of one article is cheaper."""

from quotes.catalog import price_of
from quotes.lines import PricedLine
from quotes.money import percent_of

# From so many pieces on, so many per cent off; the largest step first.
STEPS = ((50, 10), (10, 5))


def bulk_percent(quantity):
    """The discount on a line of `quantity` pieces, in per cent."""
    return next((percent for pieces, percent in STEPS if quantity >= pieces), 0)


def priced(line):
    """The line with its price and its bulk discount, which is rounded by itself."""
    gross = price_of(line.sku) * line.qty
    percent = bulk_percent(line.qty)
    return PricedLine(line, gross, percent, percent_of(gross, percent))
