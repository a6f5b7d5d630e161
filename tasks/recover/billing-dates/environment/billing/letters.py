"""What a subscriber reads."""


def amount(cents):
    """An amount for people: ``-12.05 EUR``."""
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02} EUR"


def letter(invoice):
    """An invoice as text, its parts below it if there are several."""
    rows = [f"{invoice.first:%d.%m.%Y} - {invoice.last:%d.%m.%Y}: {amount(invoice.cents)}"]
    if len(invoice.parts) > 1:
        rows += [f"  {name}: {amount(cents)}" for name, cents in sorted(invoice.parts.items())]
    return "\n".join(rows)
