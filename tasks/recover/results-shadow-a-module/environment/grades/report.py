"""What is shown of a term, and of all of them."""

from pathlib import Path

from grades.figures import figures, trend
from grades.terms import FOLDER, read_term, term_names


def report(term: str, folder: Path | str = FOLDER) -> str:
    """The figures of a term, one per line."""
    found = figures([mark.value for mark in read_term(term, folder)])
    quarters = " ".join(f"{each:.2f}" for each in found.quarters)
    return "\n".join(
        [
            f"term {term}: {found.count} marks",
            f"mean {found.mean:.2f}, median {found.median:.2f}, usual {found.usual:.2f}",
            f"deviation {found.deviation:.2f}, quarters {quarters}",
        ]
    )


def overview(folder: Path | str = FOLDER) -> str:
    """Every term with its mean, and the trend."""
    means = {term: figures([mark.value for mark in read_term(term, folder)]).mean for term in term_names(folder)}
    lines = [f"{term}  {mean:.2f}" for term, mean in means.items()]
    return "\n".join([*lines, f"trend {trend(list(means.values())):+.2f}"])
