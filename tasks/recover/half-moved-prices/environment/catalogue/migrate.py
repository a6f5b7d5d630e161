"""From format 1 to format 2 (docs/format.md): prices in cents instead of euros."""

from catalogue.store import FORMAT, Store


def migrate(store: Store) -> int:
    """Bring the file into format 2, and return how many articles were changed."""
    for record in store.data["articles"]:
        for size in record["sizes"]:
            size["cents"] = round(size["price"] * 100)
            store.save()
            del size["price"]
        if "offer" in record:
            record["offer_cents"] = round(record.pop("offer") * 100)
        store.save()
    store.data["format"] = FORMAT
    store.save()
    return len(store.data["articles"])
