"""Rows in files: JSON lines, or Parquet, without secrets; and whole tasks to one side or the other of a split."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from agentdistill.chat.values import whole
from agentdistill.errors import ConfigError
from agentdistill.redaction import redact_json

Split = Literal["train", "test"]


def split_of(task: str, share: float) -> Split:
    """To which side a task goes, by its content hash alone: the same in every export of every run.

    Args:
        task: a task's `content_hash`.
        share: of the tasks that are to be tested on, in [0, 1].
    """
    number = int.from_bytes(hashlib.sha256(f"split {task}".encode()).digest()[:8], "big")
    return "test" if number < share * 2**64 else "train"


def write_rows(rows: Iterable[dict[str, Any]], path: Path) -> int:
    """Write rows as JSON lines or, where the path ends in ``.parquet``, as Parquet; how many there were.

    Every row is redacted here. In Parquet, lists of numbers and plain values are columns of their own kind; whatever is
    nested deeper is JSON text, marked as such (`arrow.json`), which `datasets` reads back as what it was.

    Raises:
        ConfigError: Parquet is asked for, and pyarrow is not installed.
    """
    clean = [whole(redact_json(json.dumps(row, ensure_ascii=False))) for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        _write_parquet([json.loads(line) for line in clean], path)
    else:
        path.write_text("".join(line + "\n" for line in clean), "utf-8")
    return len(clean)


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file of JSON lines or, where the path ends in ``.parquet``, of Parquet.

    What `write_rows` has made JSON text of, since it is nested deeper than a list, comes as text.

    Raises:
        ConfigError: the file cannot be read, or a line is no JSON object; the message says which line.
    """
    if path.suffix == ".parquet":
        yield from _read_parquet(path)
        return
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                row = json.loads(line) if line.strip() else None
                if isinstance(row, dict):
                    yield row
                elif line.strip():
                    raise ConfigError(f"{path}, line {number}: a row is a JSON object, not {type(row).__name__}")
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}, line {number}: no JSON: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def need_parquet() -> None:
    """See that Parquet can be read and written.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ConfigError("Parquet needs pyarrow: pip install 'agentdistill[parquet]'") from error


def _read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    need_parquet()
    import pyarrow
    import pyarrow.parquet

    try:
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=256):
            yield from batch.to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise ConfigError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error


def _write_parquet(rows: Sequence[dict[str, Any]], path: Path) -> None:
    need_parquet()
    import pyarrow
    import pyarrow.parquet

    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        if any(_is_nested(value) for value in values):
            texts = [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
            kind = pyarrow.json_(pyarrow.string())
            columns[name] = pyarrow.ExtensionArray.from_storage(kind, pyarrow.array(texts, pyarrow.string()))
        else:
            columns[name] = pyarrow.array(values)
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def _is_nested(value: object) -> bool:
    """Whether it is more than a plain value or a list of numbers or texts."""
    if isinstance(value, list):
        return any(isinstance(each, list | dict) for each in value)
    return isinstance(value, dict)
