"""The journal: one line for each thing that happened, never changed afterwards. See docs/journal.md."""

from collections.abc import Iterable
from dataclasses import dataclass

KINDS = ("buy", "pay", "void", "limit", "fee")


@dataclass(frozen=True)
class Entry:
    """One line. `amount` is in cents; for `void` it is the number of the entry that does not count."""

    number: int
    day: str
    kind: str
    member: str
    amount: int
    note: str = ""

    def line(self) -> str:
        """As it stands in the journal."""
        return f"{self.number:04} {self.day} {self.kind} {self.member} {self.amount} {self.note}".rstrip()


def read_journal(lines: Iterable[str]) -> list[Entry]:
    """The entries; empty lines and remarks (`#`) are skipped. Raises ValueError for what is no entry."""
    return [_parse(line) for line in lines if line.strip() and not line.startswith("#")]


def _parse(line: str) -> Entry:
    parts = line.split(maxsplit=5)
    if len(parts) < 5 or parts[2] not in KINDS:
        raise ValueError(f"no entry: {line!r}")
    number, day, kind, member, amount = parts[:5]
    return Entry(int(number), day, kind, member, int(amount), parts[5].strip() if len(parts) == 6 else "")
