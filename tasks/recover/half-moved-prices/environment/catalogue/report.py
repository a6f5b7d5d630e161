"""The printed price list."""

from catalogue.store import Store


def price_list(store: Store) -> list[str]:
    """One line for each size of each article, by title; an offer is marked with a star."""
    lines = []
    for record in sorted(store.data["articles"], key=lambda record: record["title"]):
        for size in record["sizes"]:
            price, mark = size["price"], ""
            if record.get("offer") is not None and record["offer"] < price:
                price, mark = record["offer"], " *"
            lines.append(f"{record['title']}, {size['name']}: {price:.2f}{mark}")
    return lines
