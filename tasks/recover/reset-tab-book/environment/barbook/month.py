"""The end of a month: a service fee on what was bought."""

from barbook.book import Book, Refused
from barbook.journal import Entry

FEE_PER_THOUSAND = 25
"""2.5 percent."""


def fees(book: Book, month: str) -> dict[str, int]:
    """Member → fee in cents for a month such as 2024-05: on all that was bought, half a cent is rounded up."""
    bought: dict[str, int] = {}
    for entry in book.entries:
        if entry.kind == "buy" and entry.day.startswith(month):
            bought[entry.member] = bought.get(entry.member, 0) + entry.amount
    return {member: (total * FEE_PER_THOUSAND + 500) // 1000 for member, total in sorted(bought.items())}


def close(book: Book, month: str, day: str) -> list[Entry]:
    """Put the fees of a month on the tabs, by name; nobody gets an entry of 0. Raises `Refused` the second time."""
    if any(entry.kind == "fee" and entry.note == month for entry in book.entries):
        raise Refused(f"{month} is closed")
    return [book.record(day, "fee", member, fee, month) for member, fee in fees(book, month).items() if fee]
