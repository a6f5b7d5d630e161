"""The book: a folder with `tabs.json`, how things stand, and `journal.txt`, how they came to stand so."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from barbook.journal import Entry, read_journal


class Refused(Exception):
    """That cannot be done."""


class OverLimit(Refused):
    """The member may not owe that much."""


@dataclass
class Tab:
    """One member: what is on the tab (below 0 the member owes us) and how much may be owed, in cents."""

    balance: int
    limit: int


class Book:
    """All tabs, and all entries so far."""

    def __init__(self, folder: Path) -> None:
        """Read the book in `folder`; an empty one if there is none."""
        self.folder = folder
        self.tabs: dict[str, Tab] = {}
        self.entries: list[Entry] = []
        if self._tabs.exists():
            self.tabs = {name: Tab(**tab) for name, tab in json.loads(self._tabs.read_text()).items()}
        if self._journal.exists():
            self.entries = read_journal(self._journal.read_text().splitlines())

    @property
    def _tabs(self) -> Path:
        return self.folder / "tabs.json"

    @property
    def _journal(self) -> Path:
        return self.folder / "journal.txt"

    def join(self, member: str, limit: int, balance: int = 0) -> None:
        """A new member. This stands on paper (docs/members.md), not in the journal."""
        self.tabs[member] = Tab(balance, limit)
        self._save()

    def record(self, day: str, kind: str, member: str, amount: int, note: str = "") -> Entry:
        """Something happened: change the tab, and write it down. Raises `Refused`, and changes nothing then."""
        number = self.entries[-1].number + 1 if self.entries else 1
        entry = Entry(number, day, kind, member, amount, note)
        self._apply(entry)
        self.entries.append(entry)
        with self._journal.open("a") as file:
            file.write(entry.line() + "\n")
        self._save()
        return entry

    def voided(self) -> set[int]:
        """Numbers of the entries that do not count."""
        return {entry.amount for entry in self.entries if entry.kind == "void"}

    def _apply(self, entry: Entry) -> None:
        if entry.member not in self.tabs:
            raise Refused(f"{entry.member} is no member")
        tab = self.tabs[entry.member]
        if entry.kind == "limit":
            tab.limit = entry.amount
        elif entry.kind == "void":
            tab.balance -= _worth(self._to_void(entry))
        elif entry.kind == "buy" and tab.balance - entry.amount < -tab.limit:
            raise OverLimit(f"{entry.member} may owe {tab.limit}")
        else:
            tab.balance += _worth(entry)

    def _to_void(self, entry: Entry) -> Entry:
        for old in self.entries:
            same = old.number == entry.amount and old.member == entry.member
            if same and old.kind in ("buy", "pay") and old.number not in self.voided():
                return old
        raise Refused(f"{entry.member} has no entry {entry.amount} to void")

    def _save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        tabs = {name: asdict(tab) for name, tab in sorted(self.tabs.items())}
        self._tabs.write_text(json.dumps(tabs, indent=2) + "\n")


def _worth(entry: Entry) -> int:
    """What an entry adds to a tab."""
    return entry.amount if entry.kind == "pay" else -entry.amount
