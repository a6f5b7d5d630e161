"""Terms, and the files that they are in."""

from dataclasses import dataclass
from pathlib import Path

from statistics.reader import read_rows

FOLDER = Path(__file__).parent.parent / "statistics"


class NoSuchTerm(LookupError):
    """Nobody has put the results of this term there."""


@dataclass(frozen=True)
class Mark:
    """What somebody got, from 1.0 to 6.0."""

    name: str
    value: float


def term_names(folder: Path | str = FOLDER) -> list[str]:
    """The terms that there are, in order."""
    return sorted(path.stem for path in Path(folder).glob("*.csv"))


def read_term(term: str, folder: Path | str = FOLDER) -> list[Mark]:
    """The marks of a term, in the order of its file.

    Raises:
        NoSuchTerm: there is no file for it.
        ValueError: a line cannot be read; the message names it.
    """
    path = Path(folder) / f"{term}.csv"
    if not path.is_file():
        raise NoSuchTerm(term)
    return [Mark(name, value) for name, value in read_rows(path)]
