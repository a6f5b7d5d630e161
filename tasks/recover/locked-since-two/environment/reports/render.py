"""Rows as text."""

from collections.abc import Sequence


class Unprintable(Exception):
    """A value that a report cannot show."""


def header(columns: Sequence[str]) -> str:
    """The first line of a report."""
    return " | ".join(name.upper() for name in columns)


def row_text(row: Sequence[object]) -> str:
    """One line of a report. Raises `Unprintable` for what is neither text, nor a number, nor missing."""
    return " | ".join(_cell(value) for value in row)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Unprintable(f"a {type(value).__name__} in a report")
    if isinstance(value, float):
        return f"{value:.2f}"
    return str(value).replace("|", "/")
