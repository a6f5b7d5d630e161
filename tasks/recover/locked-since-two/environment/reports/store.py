"""Tables in memory, with one lock each: many may read at once, or one may write."""

import logging
from collections.abc import Callable, Iterator

log = logging.getLogger("store")


class Locked(Exception):
    """Somebody else has the table."""


class Table:
    """Rows with named columns. `readers` counts the scans that are under way, `writer` says whether one writes."""

    def __init__(self, name: str, columns: tuple[str, ...]) -> None:
        self.name = name
        self.columns = columns
        self.rows: list[tuple[object, ...]] = []
        self.readers = 0
        self.writer = False

    def need_no_writer(self) -> None:
        """Raise `Locked` if somebody writes."""
        if self.writer:
            raise Locked(f"{self.name}: somebody writes")

    def need_nobody(self) -> None:
        """Raise `Locked` if somebody reads or writes."""
        self.need_no_writer()
        if self.readers:
            raise Locked(f"{self.name}: {self.readers} reading")


class Store:
    """All tables, by name."""

    def __init__(self) -> None:
        self._tables: dict[str, Table] = {}

    def create(self, name: str, *columns: str) -> Table:
        """A new, empty table."""
        self._tables[name] = Table(name, columns)
        return self._tables[name]

    def table(self, name: str) -> Table:
        """The table of this name; KeyError if there is none."""
        return self._tables[name]

    def scan(self, name: str) -> Iterator[tuple[object, ...]]:
        """The rows of a table. From the first row on the table is locked against writers, until the scan ends.

        Raises `Locked` if somebody writes.
        """
        table = self.table(name)
        table.need_no_writer()
        table.readers += 1
        log.debug("%s: %d reading", name, table.readers)
        for row in table.rows:
            yield row
        table.readers -= 1
        log.debug("%s: %d reading", name, table.readers)

    def append(self, name: str, *rows: tuple[object, ...]) -> None:
        """Add rows. Raises `Locked` if somebody reads or writes."""
        table = self.table(name)
        table.need_nobody()
        for row in rows:
            if len(row) != len(table.columns):
                raise ValueError(f"{name}: {len(table.columns)} columns, not {len(row)}")
        table.rows.extend(rows)

    def rewrite(self, name: str, change: Callable[[tuple[object, ...]], tuple[object, ...]]) -> int:
        """Put `change(row)` in place of every row, and say how many are different now.

        Raises `Locked` if somebody reads or writes. If `change` raises, the table stays as it was.
        """
        table = self.table(name)
        table.need_nobody()
        table.writer = True
        try:
            changed = [change(row) for row in table.rows]
        finally:
            table.writer = False
        different = sum(old != new for old, new in zip(table.rows, changed, strict=True))
        table.rows = changed
        return different
