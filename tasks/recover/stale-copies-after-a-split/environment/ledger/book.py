"""A book of postings."""

from collections.abc import Iterable

from ledger.models import Entry, LedgerError, Unbalanced, format_entry


class Book:
    """Entries that have been posted; in each currency they sum up to nothing."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def post(self, entries: Iterable[Entry]) -> None:
        """Take entries over, all of them or none.

        Raises:
            TypeError: something is no `Entry`.
            Unbalanced: in some currency they do not sum up to nothing.
        """
        taken = list(entries)
        sums: dict[str, int] = {}
        for entry in taken:
            if not isinstance(entry, Entry):
                raise TypeError(f"{entry!r} is no entry")
            sums[entry.currency] = sums.get(entry.currency, 0) + entry.units
        left = sorted(code for code, units in sums.items() if units)
        if left:
            raise Unbalanced(f"not balanced in {', '.join(left)}")
        self._entries += taken

    def post_all(self, postings: Iterable[Iterable[Entry]]) -> list[str]:
        """Post one after the other; say what was wrong with those that were not posted, reading them included."""
        problems = []
        for posting in postings:
            try:
                self.post(posting)
            except LedgerError as error:
                problems.append(str(error))
        return problems

    def balance(self, account: str, currency: str) -> int:
        """The sum of an account, in the smallest unit of the currency."""
        return sum(entry.units for entry in self._entries if (entry.account, entry.currency) == (account, currency))

    def lines(self) -> list[str]:
        """All entries as text, in the order in which they were posted."""
        return [format_entry(entry) for entry in self._entries]
