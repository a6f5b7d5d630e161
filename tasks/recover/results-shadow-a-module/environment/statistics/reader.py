"""Reads files of results."""

import csv
from collections.abc import Iterator
from pathlib import Path


def read_rows(path: Path) -> Iterator[tuple[str, float]]:
    """Name and mark of everybody who was there.

    Raises:
        ValueError: a mark is none, or is not from 1 to 6; the message begins with file and line.
    """
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            text = (row["mark"] or "").strip()
            if not text:
                continue
            try:
                value = float(text)
            except ValueError:
                raise ValueError(f"{path.name}:{number}: {text!r} is no mark") from None
            if not 1 <= value <= 6:
                raise ValueError(f"{path.name}:{number}: {text} is not from 1 to 6")
            yield row["name"].strip(), value
