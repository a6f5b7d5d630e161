"""Articles, as the rest of the program sees them."""

from dataclasses import dataclass

from catalogue.store import Store


@dataclass(frozen=True)
class Size:
    """One size of an article: its price is in cents."""

    name: str
    cents: int
    stock: int


@dataclass(frozen=True)
class Article:
    """One article. `offer` is a price in cents that counts for all sizes, while there is one."""

    code: str
    title: str
    sizes: tuple[Size, ...]
    offer: int | None = None

    def cents(self, size: str) -> int:
        """What a size costs today; KeyError if there is no such size."""
        for each in self.sizes:
            if each.name == size:
                return each.cents if self.offer is None else min(self.offer, each.cents)
        raise KeyError(f"{self.code} has no size {size}")


def articles(store: Store) -> dict[str, Article]:
    """All articles by code. Raises `WrongFormat` for a file in another format."""
    store.need_format()
    found = {}
    for record in store.data["articles"]:
        sizes = tuple(Size(size["name"], size["cents"], size["stock"]) for size in record["sizes"])
        found[record["code"]] = Article(record["code"], record["title"], sizes, record.get("offer_cents"))
    return found
