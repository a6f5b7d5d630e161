"""Harbor task folders (schema 1.4): what is to be done, in which files, and how it is judged.

Layout: ``task.toml``, ``instruction.md``, ``environment/``, ``tests/test.sh`` and optionally ``solution/solve.sh``.
Keys we do not know are kept. Tasks of several steps are refused for now.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tomllib
from pathlib import Path
from typing import cast

from pydantic import ConfigDict, Field, JsonValue

from agentdistill.errors import TaskError
from agentdistill.records import Record, digest_of


class HarborFile(Record):
    """One file of a task."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    content: bytes
    executable: bool = False


class HarborTask(Record):
    """A task folder, read whole. File names are relative to their part of the folder, with forward slashes."""

    name: str
    instruction: str
    config: dict[str, JsonValue] = Field(description="task.toml as read; dates and times as ISO 8601 text")
    environment: dict[str, HarborFile]
    tests: dict[str, HarborFile]
    solution: dict[str, HarborFile]

    @property
    def digest(self) -> str:
        """SHA-256 over everything in it, as 64 hex digits: equal for equal tasks, wherever they lie."""
        parts: list[JsonValue] = [self.name, self.instruction, self.config]
        for files in (self.environment, self.tests, self.solution):
            parts.append(
                {name: [hashlib.sha256(file.content).hexdigest(), file.executable] for name, file in files.items()}
            )
        return digest_of(parts)

    def table(self, *path: str) -> dict[str, JsonValue]:
        """A table of the config such as ``table("metadata", "agentdistill")``; empty if it is not there."""
        found: JsonValue = self.config
        for key in path:
            found = found.get(key, {}) if isinstance(found, dict) else {}
        return found if isinstance(found, dict) else {}


def find_tasks(root: Path) -> list[Path]:
    """Every task folder at or below `root`, sorted.

    Raises:
        TaskError: there is no such folder.
    """
    if not root.is_dir():
        raise TaskError(f"there is no folder of tasks at {str(root)!r}")
    return sorted(path.parent for path in root.rglob("task.toml"))


def read_task(folder: Path) -> HarborTask:
    """Read a task folder.

    Raises:
        TaskError: it is not one, or is one that cannot be run here; the message says in one line why.
    """
    if not folder.is_dir():
        raise TaskError(f"there is no task folder at {str(folder)!r}")
    try:
        config = _jsonable(tomllib.loads(_text(folder, "task.toml")))
    except tomllib.TOMLDecodeError as error:
        raise TaskError(f"{folder}: task.toml is not TOML: {error}") from error
    instruction = _text(folder, "instruction.md").strip()
    if not instruction:
        raise TaskError(f"{folder}: instruction.md is empty")
    settings = cast("dict[str, JsonValue]", config)
    tests = _files(folder, "tests")
    if "test.sh" not in tests:
        raise TaskError(f"{folder}: tests/test.sh is missing")
    return HarborTask(
        name=_checked_name(folder, settings),
        instruction=instruction,
        config=settings,
        environment=_files(folder, "environment"),
        tests=tests,
        solution=_files(folder, "solution"),
    )


def _checked_name(folder: Path, config: dict[str, JsonValue]) -> str:
    version = config.get("schema_version", config.get("version", "1.4"))
    if not isinstance(version, str) or version.split(".")[0] != "1":
        raise TaskError(f"{folder}: schema version {version!r} is not known; this reads 1.x")
    if config.get("steps"):
        raise TaskError(f"{folder}: tasks of several steps cannot be run yet")
    about = config.get("task", {"name": folder.name})
    name = about.get("name") if isinstance(about, dict) else None
    if not isinstance(name, str) or not name:
        raise TaskError(f"{folder}: [task] in task.toml needs a name, such as 'org/{folder.name}'")
    return name


def _text(folder: Path, name: str) -> str:
    try:
        return (folder / name).read_text("utf-8")
    except FileNotFoundError as error:
        raise TaskError(f"{folder}: {name} is missing") from error
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"{folder}: {name} cannot be read: {error}") from error


def _files(folder: Path, part: str) -> dict[str, HarborFile]:
    found: dict[str, HarborFile] = {}
    for path in sorted((folder / part).rglob("*")):
        if "__pycache__" in path.parts or path.is_dir():
            continue  # bytecode is a trace of somebody's run, not part of the task
        mode = os.lstat(path).st_mode
        if not stat.S_ISREG(mode):
            raise TaskError(f"{folder}: {path.relative_to(folder)} is a link or something else that is not a file")
        name = path.relative_to(folder / part).as_posix()
        found[name] = HarborFile(content=path.read_bytes(), executable=bool(mode & stat.S_IXUSR))
    return found


def _jsonable(value: object) -> JsonValue:
    if isinstance(value, dict):
        return {key: _jsonable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_jsonable(each) for each in value]
    if isinstance(value, str | int | float | bool):
        return value
    return str(value)  # TOML has dates and times besides, whose text is ISO 8601
