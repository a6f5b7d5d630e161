#!/bin/bash
set -e
grep -rnE '^(<<<<<<<|=======|>>>>>>>)' quotes | sort
grep -rn 'qty' quotes | sort
# Both products are new: only the markers go.
sed -i -e '/^<<<<<<< /d' -e '/^>>>>>>> /d' -e 's/^=======$//' quotes/catalog.ini
sed -i 's/\.qty\b/.quantity/g' quotes/discounts.py quotes/render.py
python3 - <<'END'
import re
from pathlib import Path

# Loyalty is a percentage of what bulk discounts have left.
path = Path("quotes/loyalty.py")
text = path.read_text()
old = "sum((price_of(line.sku) * line.quantity for line in lines if not is_clearance(line.sku)), ZERO)"
assert old in text
text = text.replace(old, "sum((each.net for each in priced_lines if not is_clearance(each.line.sku)), ZERO)")
text = text.replace("def loyalty_discount(lines, customer)", "def loyalty_discount(priced_lines, customer)")
text = text.replace("let off a quote of these lines.", "let off these lines, after their bulk discounts.")
path.write_text(text.replace("import is_clearance, price_of", "import is_clearance"))


def resolve(name, *resolutions):
    path = Path(name)
    parts = re.split(r"<<<<<<< HEAD\n.*?>>>>>>> loyalty\n", path.read_text(), flags=re.DOTALL)
    assert len(parts) == len(resolutions) + 1, name
    path.write_text("".join(part + more for part, more in zip(parts, (*resolutions, ""))))


resolve(
    "quotes/quote.py",
    """from quotes.discounts import priced
from quotes.lines import PricedLine
from quotes.loyalty import Customer, loyalty_discount
from quotes.money import ZERO

NOBODY = Customer("")
""",
    '''    lines: tuple[PricedLine, ...]
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
''',
)
resolve(
    "quotes/render.py",
    """    rows = [f"For {quote.customer.name}"] if quote.customer.name else []
    for each in quote.lines:
        row = f"{each.line.quantity} x {title_of(each.line.sku)}: {euros(each.net)}"
        if each.percent:
            row += f" (bulk -{each.percent}%)"
        rows.append(row)
    if quote.loyalty:
        rows.append(f"Loyalty ({quote.customer.tier}): -{euros(quote.loyalty)}")
""",
)
END
python3 -m unittest
