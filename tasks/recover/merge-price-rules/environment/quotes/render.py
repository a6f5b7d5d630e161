"""A quote as text, for a letter."""

from quotes.catalog import title_of
from quotes.money import euros


def render(quote):
    """The quote as the customer reads it, one line each, without a newline at the end."""
<<<<<<< HEAD
    rows = []
    for each in quote.lines:
        row = f"{each.line.qty} x {title_of(each.line.sku)}: {euros(each.net)}"
        if each.percent:
            row += f" (bulk -{each.percent}%)"
        rows.append(row)
=======
    rows = [f"For {quote.customer.name}"] if quote.customer.name else []
    for line in quote.lines:
        rows.append(f"{line.quantity} x {title_of(line.sku)}")
    if quote.loyalty:
        rows.append(f"Loyalty ({quote.customer.tier}): -{euros(quote.loyalty)}")
>>>>>>> loyalty
    rows.append(f"Total: {euros(quote.total)}")
    return "\n".join(rows)
