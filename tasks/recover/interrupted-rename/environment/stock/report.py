"""What people read about a warehouse."""

from stock.warehouse import Warehouse


def summary(warehouse: Warehouse) -> str:
    """One line: the name, then each item with its count."""
    counts = ", ".join(f"{item} {warehouse.amount(item)}" for item in warehouse.items())
    return f"{warehouse.name}: {counts or 'empty'}"


def shortages(warehouse: Warehouse, wanted: dict[str, int]) -> dict[str, int]:
    """How many pieces of each wanted item are missing."""
    missing = {item: count - warehouse.amount(item) for item, count in wanted.items()}
    return {item: count for item, count in missing.items() if count > 0}
