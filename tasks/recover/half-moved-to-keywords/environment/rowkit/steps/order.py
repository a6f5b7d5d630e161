"""Steps that put rows in order."""

from collections.abc import Mapping
from typing import Any

from rowkit.steps import Rows


def step_sort(rows: Rows, options: Mapping[str, Any] | None = None) -> Rows:
    """Sort by a column, stable."""
    options = options or {}
    column = options.get("column", "name")
    return sorted(rows, key=lambda row: row[column], reverse=bool(options.get("reverse")))


def step_top(rows: Rows, options: Mapping[str, Any]) -> Rows:
    """The rows with the highest values in a column, highest first; with those as high as the last, if ties are kept."""
    ordered = step_sort(rows, {"column": options["column"], "reverse": True})
    taken = ordered[: options["n"]]
    if options.get("keep_ties") and taken:
        taken += [row for row in ordered[len(taken) :] if row[options["column"]] == taken[-1][options["column"]]]
    return taken
