"""The catalogue on disk: one JSON file, written as a whole."""

import json
import os
from pathlib import Path

FORMAT = 2


class WrongFormat(Exception):
    """The file is not in the format that this version reads."""


class Store:
    """`data` is what the file holds: `format` and `articles`, a list of records (see docs/format.md)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = json.loads(path.read_text(encoding="utf-8"))

    @property
    def format(self) -> int:
        """The number of the format that the file says it is in."""
        return self.data.get("format", 1)

    def need_format(self) -> None:
        """Raise `WrongFormat` unless the file is in the present format."""
        if self.format != FORMAT:
            raise WrongFormat(f"{self.path.name} is in format {self.format}, not {FORMAT}: migrate it first")

    def save(self) -> None:
        """Write the file; whoever reads meanwhile gets the old one or the new one."""
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(self.data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(new, self.path)
