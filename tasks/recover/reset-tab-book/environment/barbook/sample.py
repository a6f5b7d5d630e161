"""A book with made-up members, to show the program to others."""

from pathlib import Path

from barbook.book import Book

MEMBERS = {"Sample-A": 3000, "Sample-B": 5000}
ENTRIES = (
    ("2024-01-05", "buy", "Sample-A", 250, "tea"),
    ("2024-01-05", "buy", "Sample-B", 900, "soup"),
    ("2024-01-06", "pay", "Sample-B", 1000, ""),
)


def reset(folder: Path) -> Book:
    """Put the sample book into `folder`."""
    tabs = folder / "tabs.json"
    if tabs.exists():
        tabs.unlink()
    book = Book(folder)
    if book.entries:
        with (folder / "journal.txt").open("a") as file:
            file.write("# reset to the sample\n")
        book.entries.clear()
    for member, limit in MEMBERS.items():
        book.join(member, limit)
    for entry in ENTRIES:
        book.record(*entry)
    return book
