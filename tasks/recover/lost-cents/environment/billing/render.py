"""An invoice as people get it."""

from billing.invoice import Invoice
from billing.money import format_cents

_WIDTH = 44


def render(invoice: Invoice) -> str:
    """The invoice as text: its lines, the net sum, tax by rate, and the total."""
    rows = [f"Invoice {invoice.number}", ""]
    rows += [_row(f"{line.count} x {line.name}", line.net) for line in invoice.lines]
    rows.append("-" * _WIDTH)
    if invoice.discount:
        rows.append(_row("discount, taken off above", invoice.discount))
    rows.append(_row("net", invoice.net))
    rows += [_row(f"{row.rate.normalize():f} % tax on {format_cents(row.base)}", row.tax) for row in invoice.taxes]
    rows.append(_row("total", invoice.total))
    return "\n".join(rows)


def _row(text: str, cents: int) -> str:
    amount = format_cents(cents)
    return f"{text:<{_WIDTH - len(amount)}}{amount}"
