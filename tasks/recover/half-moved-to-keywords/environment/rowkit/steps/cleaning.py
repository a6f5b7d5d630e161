"""Steps that tidy up."""

from collections.abc import Sequence
from typing import Any

from rowkit.steps import Rows


def step_drop_empty(rows: Rows, *, column: str) -> Rows:
    """Drop rows in which `column` is missing or empty."""
    return [row for row in rows if row.get(column, "") != ""]


def step_fill(rows: Rows, *, column: str, value: Any = "") -> Rows:
    """Put `value` where `column` is missing or empty."""
    return [{**row, column: value} if row.get(column, "") == "" else row for row in rows]


def step_strip(rows: Rows, *, columns: Sequence[str] = ()) -> Rows:
    """Remove blanks at both ends of texts, in `columns`, or in all of them."""
    return [
        {
            name: value.strip() if isinstance(value, str) and (not columns or name in columns) else value
            for name, value in row.items()
        }
        for row in rows
    ]
