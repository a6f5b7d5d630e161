"""A task folder as a record: all that is to be done, in which files, and how it is judged."""

from __future__ import annotations

import hashlib

from pydantic import ConfigDict, Field, JsonValue

from agentdistill.formats.harbor.config import StepSettings, TaskConfig
from agentdistill.formats.harbor.messes import Mess
from agentdistill.records import Record, digest_of


class HarborFile(Record):
    """One file of a task."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    content: bytes
    executable: bool = False


class HarborStep(Record):
    """One step of a task that has several. `settings` are the step's own: what they leave unsaid, the task's say."""

    name: str
    instruction: str
    settings: StepSettings
    workdir: dict[str, HarborFile] = Field(
        default_factory=dict, description="laid into the working directory first; ``setup.sh`` among them is then run"
    )
    tests: dict[str, HarborFile] = Field(
        default_factory=dict, description="the task's and the step's; of two of one name, the step's"
    )
    solution: dict[str, HarborFile] = Field(default_factory=dict)


class HarborTask(Record):
    """A task folder, read whole. File names are relative to their part of the folder, with forward slashes."""

    name: str
    instruction: str = Field(description="empty for a task of several steps, each of which has its own")
    config: dict[str, JsonValue] = Field(description="task.toml as read; dates and times as ISO 8601 text")
    settings: TaskConfig = Field(default_factory=TaskConfig, description="the same, typed, as schema 1.4 has it")
    environment: dict[str, HarborFile]
    tests: dict[str, HarborFile]
    solution: dict[str, HarborFile]
    steps: tuple[HarborStep, ...] = ()
    messes: tuple[Mess, ...] = Field((), description="recorded wrong starts, by name")
    wrong: dict[str, str] = Field(default_factory=dict, description="name → script: natural wrong fixes, that score 0")
    cheats: dict[str, str] = Field(
        default_factory=dict, description="name → script: cheats special to it, that score 0"
    )

    @property
    def digest(self) -> str:
        """SHA-256 over all that decides what is run and judged, as 64 hex digits; the same wherever the folder lies."""
        parts: list[JsonValue] = [self.instruction, self.config]
        parts += [_hashed(files) for files in (self.environment, self.tests, self.solution)]
        for step in self.steps:
            parts += [step.name, step.instruction]
            parts += [_hashed(files) for files in (step.workdir, step.tests, step.solution)]
        parts.append([mess.model_dump(mode="json") for mess in self.messes])
        parts.append(self.model_dump(mode="json", include={"wrong", "cheats"}))
        return digest_of(parts)

    @property
    def split(self) -> str:
        """Of which split the task is: as ``[metadata]`` says, `train` if it does not."""
        return str(self.table("metadata").get("split", "train"))

    def table(self, *path: str) -> dict[str, JsonValue]:
        """A table of the config such as ``table("metadata", "agentdistill")``; empty if it is not there."""
        found: JsonValue = self.config
        for key in path:
            found = found.get(key, {}) if isinstance(found, dict) else {}
        return found if isinstance(found, dict) else {}


def _hashed(files: dict[str, HarborFile]) -> JsonValue:
    return {name: [hashlib.sha256(file.content).hexdigest(), file.executable] for name, file in files.items()}
