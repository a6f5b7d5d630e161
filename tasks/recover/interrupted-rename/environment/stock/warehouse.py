"""One warehouse: what it holds, and how much fits."""


class Full(Exception):
    """It does not fit."""


class Missing(Exception):
    """There is not that much of it."""


class Warehouse:
    """Counts of items, at most `capacity` pieces in all."""

    def __init__(self, name: str, capacity: int) -> None:
        self.name = name
        self.capacity = capacity
        self._counts: dict[str, int] = {}

    def level(self, item: str) -> int:
        """How many pieces of `item` are here."""
        return self._counts.get(item, 0)

    def items(self) -> list[str]:
        """What is here, sorted."""
        return sorted(self._counts)

    def need_room(self, count: int) -> None:
        """Raise `Full` unless `count` more pieces fit."""
        if sum(self._counts.values()) + count > self.capacity:
            raise Full(f"{self.name}: no room for {count}")

    def need_stock(self, item: str, count: int) -> None:
        """Raise `Missing` unless `count` pieces of `item` are here."""
        if self.level(item) < count:
            raise Missing(f"{self.name}: only {self.level(item)} of {item}")

    def add(self, item: str, count: int) -> None:
        """Put `count` pieces in."""
        self.need_room(count)
        self._counts[item] = self.level(item) + count

    def remove(self, item: str, count: int) -> None:
        """Take `count` pieces out."""
        self.need_stock(item, count)
        self._counts[item] = self.amount(item) - count
        if not self._counts[item]:
            del self._counts[item]

    def transfer(self, item: str, count: int, other: "Warehouse") -> None:
        """Hand `count` pieces over to `other`; a refused transfer leaves both as they were."""
        self.remove(item, count)
        other.add(item, count)
