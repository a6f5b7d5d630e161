#!/bin/bash
# The definitions stand twice now, the later ones winning. The rename goes forward again, and the doubled parts are written
# once, from what both copies say and the notes.
set -e
sed -i -E 's/\bqty\b/quantity/g' quotes/*.py
python3 - <<'END'
from pathlib import Path

path = Path("quotes/catalog.ini")
path.write_text(path.read_text().replace("price = 18.40\n[strap]", "price = 18.40\n\n[strap]"))

path = Path("quotes/loyalty.py")
text = path.read_text()
old = "sum((price_of(line.sku) * line.quantity for line in lines if not is_clearance(line.sku)), ZERO)"
assert old in text
text = text.replace(old, "sum((each.net for each in lines if not is_clearance(each.line.sku)), ZERO)")
path.write_text(text.replace("import is_clearance, price_of", "import is_clearance"))
END
cat > quotes/quote.py <<'END'
"""Adds up a quote."""

from dataclasses import dataclass
from decimal import Decimal

from quotes.discounts import priced
from quotes.lines import PricedLine
from quotes.loyalty import Customer, loyalty_discount
from quotes.money import ZERO

NOBODY = Customer("")


@dataclass(frozen=True)
class Quote:
    """What is offered, to whom, and for how much."""

    lines: tuple[PricedLine, ...]
    customer: Customer
    subtotal: Decimal
    loyalty: Decimal
    total: Decimal


def make_quote(lines, customer=NOBODY):
    """Price the lines, give bulk discounts and then the customer's loyalty discount, and add up.

    Raises:
        UnknownArticle: a line asks for something that is not in the catalog.
    """
    with_prices = tuple(priced(line) for line in lines)
    subtotal = sum((each.net for each in with_prices), ZERO)
    loyalty = loyalty_discount(with_prices, customer)
    return Quote(with_prices, customer, subtotal, loyalty, subtotal - loyalty)
END
cat > quotes/render.py <<'END'
"""A quote as text, for a letter."""

from quotes.catalog import title_of
from quotes.money import euros


def render(quote):
    """The quote as the customer reads it, one line each, without a newline at the end."""
    rows = [f"For {quote.customer.name}"] if quote.customer.name else []
    for each in quote.lines:
        row = f"{each.line.quantity} x {title_of(each.line.sku)}: {euros(each.net)}"
        if each.percent:
            row += f" (bulk -{each.percent}%)"
        rows.append(row)
    if quote.loyalty:
        rows.append(f"Loyalty ({quote.customer.tier}): -{euros(quote.loyalty)}")
    rows.append(f"Total: {euros(quote.total)}")
    return "\n".join(rows)
END
python3 -m unittest
