"""What was ordered."""

from dataclasses import dataclass, field
from decimal import Decimal


@dataclass(frozen=True)
class Item:
    """So many pieces of one thing.

    Attributes:
        price: of one piece, in cents, without tax; negative for a refund.
        tax: in percent.
    """

    name: str
    count: int
    price: int
    tax: Decimal = Decimal(20)

    @property
    def amount(self) -> int:
        """What all of them cost, in cents."""
        return self.count * self.price


@dataclass(frozen=True)
class Order:
    """Things that are billed together.

    Attributes:
        discount: taken off the whole order, in cents, before tax.
    """

    number: str
    items: list[Item] = field(default_factory=list)
    discount: int = 0
