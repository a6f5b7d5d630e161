"""Loyalty discounts: who has bought for years pays less."""

from dataclasses import dataclass

from quotes.catalog import is_clearance, price_of
from quotes.money import ZERO, percent_of

TIERS = {"none": 0, "silver": 3, "gold": 6}


@dataclass(frozen=True)
class Customer:
    """Who asks for a quote."""

    name: str
    tier: str = "none"

    def __post_init__(self):
        if self.tier not in TIERS:
            raise ValueError(f"{self.name}: there is no tier {self.tier!r}")


def tier_percent(tier):
    """The discount of a tier, in per cent."""
    return TIERS[tier]


def loyalty_discount(lines, customer):
    """What `customer` is let off a quote of these lines. Clearance articles do not count."""
    counting = sum((price_of(line.sku) * line.quantity for line in lines if not is_clearance(line.sku)), ZERO)
    return percent_of(counting, tier_percent(customer.tier))
