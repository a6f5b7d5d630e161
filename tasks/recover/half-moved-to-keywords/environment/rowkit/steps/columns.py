"""Steps that change columns."""

from collections.abc import Mapping
from typing import Any

from rowkit.steps import Rows


def step_number(rows: Rows, options: Mapping[str, Any]) -> Rows:
    """Make numbers of the texts in a column, rounded to so many places if they are given."""
    column, places = options["column"], options.get("places")
    changed = []
    for row in rows:
        value = float(row[column])
        if places is not None:
            value = round(value, places)
        changed.append({**row, column: int(value) if value.is_integer() else value})
    return changed


def step_rename(rows: Rows, *, names: Mapping[str, str]) -> Rows:
    """Rename columns, old name to new name."""
    return [{names.get(name, name): value for name, value in row.items()} for row in rows]
