"""Short texts about a table."""

from rowkit import steps
from rowkit.steps import Rows


def summary(rows: Rows, column: str) -> str:
    """How many rows there are, and how far a column goes."""
    rows = steps.find("drop_empty")(rows, column=column)
    if not rows:
        return "no rows"
    ordered = steps.find("sort")(rows, {"column": column})
    return f"{len(rows)} rows, {column} from {ordered[0][column]} to {ordered[-1][column]}"


def highlights(rows: Rows, label: str, column: str, count: int = 3) -> str:
    """The labels of the rows with the highest values. Ties are kept."""
    arguments = {"column": column, "n": count, "keep_ties": True}
    shown = _apply("strip", _apply("top", rows, arguments), {"columns": [label]})
    return ", ".join(f"{row[label]} ({row[column]})" for row in shown)


def _apply(name: str, rows: Rows, arguments: dict[str, object]) -> Rows:
    return getattr(steps, "find")(name)(rows, arguments)
