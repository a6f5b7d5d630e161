"""Reads data/schema.sql."""

import re
from pathlib import Path

from tools import SCHEMA


def schema_version(path: Path = SCHEMA) -> int:
    """The number in its first line.

    Raises:
        ValueError: there is none.
    """
    match = re.match(r"-- version (\d+)\n", path.read_text("utf-8"))
    if match is None:
        raise ValueError(f"{path.name} does not begin with its version")
    return int(match.group(1))


def columns(path: Path = SCHEMA) -> list[str]:
    """The columns of the table, in order."""
    return re.findall(r"^    ([a-z]+) (?:TEXT|INTEGER) NOT NULL,?$", path.read_text("utf-8"), re.MULTILINE)
