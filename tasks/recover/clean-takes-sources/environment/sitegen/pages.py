"""Pages as they are written: some lines `key: value`, an empty line, then the text."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Page:
    """One page: its name is that of its file, without the ending."""

    name: str
    title: str
    order: int
    text: str


def read_page(path: Path) -> Page:
    """Read a page. Raises ValueError if it has no title, or a line of its head is none."""
    head, _, text = path.read_text(encoding="utf-8").partition("\n\n")
    about = {}
    for line in head.splitlines():
        key, colon, value = line.partition(":")
        if not colon:
            raise ValueError(f"{path.name}: no 'key: value': {line!r}")
        about[key.strip()] = value.strip()
    if not about.get("title"):
        raise ValueError(f"{path.name}: no title")
    return Page(path.stem, about["title"], int(about.get("order", "100")), text)


def read_pages(folder: Path) -> list[Page]:
    """All pages of a folder, by their order and then by name."""
    return sorted((read_page(path) for path in folder.glob("*.txt")), key=lambda page: (page.order, page.name))
