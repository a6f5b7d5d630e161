"""Reading a task folder: every piece that must be there and says what it must, or one line that says what to mend."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import TypeVar, cast

from pydantic import BaseModel, JsonValue, ValidationError

from agentdistill.errors import TaskError, printable
from agentdistill.formats.harbor.config import StepSettings, TaskConfig
from agentdistill.formats.harbor.messes import Mess, MessFile
from agentdistill.formats.harbor.problems import first_problem
from agentdistill.formats.harbor.task import HarborFile, HarborStep, HarborTask
from agentdistill.formats.harbor.versions import upgraded

Model = TypeVar("Model", bound=BaseModel)
Files = dict[str, HarborFile]
_IMAGE_FILES = ("Dockerfile", "docker-compose.yaml")


def find_tasks(root: Path) -> list[Path]:
    """Every task folder at or below `root`, sorted. What lies in a task is never one.

    Raises:
        TaskError: there is no such folder, or it cannot be searched.
    """
    if not root.is_dir():
        raise TaskError(f"there is no folder of tasks at {str(root)!r}")
    found: list[Path] = []
    try:
        named = sorted(path.parent for path in root.rglob("task.toml"))
    except OSError as error:
        raise TaskError(f"the folders of tasks below {str(root)!r} cannot be read: {error.strerror}") from error
    for folder in named:
        if not found or not folder.is_relative_to(found[-1]):
            found.append(folder)
    return found


def read_task(folder: Path) -> HarborTask:
    """Read a task folder.

    Raises:
        TaskError: it is not one, or is one that cannot be run here; the message says in one line which file and key is
            at fault, and what to write.
    """
    if not folder.is_dir():
        raise TaskError(f"there is no task folder at {str(folder)!r}")
    return _Reader(folder).task()


class _Reader:
    """Reads one folder; every complaint begins with the folder and the file in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def task(self) -> HarborTask:
        config = self.toml("task.toml")
        settings = self.settings(config)
        tests = self.files("tests")
        steps = tuple(self.step(settings, step, tests) for step in settings.steps or ())
        if not steps:
            self.check_test(settings, None, tests, "tests/test.sh")
        if (self.folder / "trajectory.json").exists():
            raise self.problem("trajectory.json", "holds what was said before: that cannot be given to an agent")
        return HarborTask(
            name=settings.task.name if settings.task is not None else self.folder.resolve().name,
            instruction="" if steps else self.instruction("instruction.md"),
            config=config,
            settings=settings,
            environment=self.environment(settings),
            tests=tests,
            solution=self.solution("solution"),
            steps=steps,
            messes=tuple(self.mess(name) for name in self.folders("messes")),
            wrong=self.scripts("wrong"),
            cheats=self.scripts("cheats"),
        )

    def step(self, task: TaskConfig, settings: StepSettings, shared: Files) -> HarborStep:
        part = f"steps/{settings.name}"
        for each in ("steps", part):
            if (self.folder / each).is_symlink():
                raise self.problem(each, "is a link: it must be a folder")
        if not (self.folder / part).is_dir():
            raise self.problem("task.toml:", f"steps: {settings.name!r} has no folder: make {part}/instruction.md")
        tests = {**shared, **self.files(f"{part}/tests")}
        self.check_test(task, settings, tests, f"{part}/tests/test.sh")
        if (self.folder / part / "trajectory.json").exists():
            told = "holds what was said before the step: that cannot be given to an agent"
            raise self.problem(f"{part}/trajectory.json", told)
        return HarborStep(
            name=settings.name,
            instruction=self.instruction(f"{part}/instruction.md"),
            settings=settings,
            workdir=self.files(f"{part}/workdir"),
            tests=tests,
            solution=self.solution(f"{part}/solution"),
        )

    # ---- task.toml -----------------------------------------------------------------------------------------------

    def settings(self, config: dict[str, JsonValue]) -> TaskConfig:
        version = config.get("schema_version", config.get("version", "1.4"))
        if not isinstance(version, str) or version.split(".")[0] != "1":
            raise self.problem(
                "task.toml:", f"schema_version: version {version!r} is not known: this reads 1.x, write 1.4"
            )
        try:
            settings = self.valid("task.toml", upgraded(config), TaskConfig)
        except TaskError as error:
            if str(self.folder) in str(error):
                raise
            raise self.problem("task.toml:", str(error)) from error
        ours = settings.metadata.get("agentdistill", {})
        if not isinstance(ours, dict):
            raise self.problem("task.toml:", f"metadata.agentdistill must be a table, not {ours!r}")
        if not isinstance(needs := ours.get("needs_image", True), bool):
            raise self.problem("task.toml:", f"metadata.agentdistill.needs_image must be true or false, not {needs!r}")
        worlds = {"environment": settings.environment, "verifier.environment": settings.verifier.environment}
        for key, world in worlds.items():
            if world is not None and world.os == "windows":
                raise self.problem("task.toml:", f"{key}.os: a task for Windows cannot be run here: only linux can")
        return settings

    def check_test(self, task: TaskConfig, step: StepSettings | None, tests: Files, name: str) -> None:
        """There must be a script, unless the image of a separate verifier holds it."""
        if "test.sh" in tests:
            return
        if task.verifier_mode(step) == "separate":
            own = [each.verifier.environment for each in (step, task) if each is not None]
            if any(each is not None and each.docker_image for each in own) or any(f in tests for f in _IMAGE_FILES):
                return
        raise self.problem(name, "is missing: write a script that leaves the reward in /logs/verifier/reward.txt")

    def valid(self, name: str, values: dict[str, JsonValue], model: type[Model]) -> Model:
        try:
            return model.model_validate(values)
        except ValidationError as error:
            raise self.problem(f"{name}:", first_problem(error, model)) from error

    # ---- folders -------------------------------------------------------------------------------------------------

    def environment(self, settings: TaskConfig) -> Files:
        if not (self.folder / "environment").is_dir() and not settings.environment.docker_image:
            told = (
                "is missing: lay the task's files or a Dockerfile there, or name environment.docker_image in task.toml"
            )
            raise self.problem("environment/", told)
        return self.files("environment")

    def solution(self, part: str) -> Files:
        found = self.files(part)
        if found and "solve.sh" not in found:
            raise self.problem(
                f"{part}/solve.sh", "is missing: write the script that does the work, or remove the folder"
            )
        return found

    def mess(self, name: str) -> Mess:
        part = f"messes/{name}"
        known = self.valid(f"{part}/mess.toml", self.toml(f"{part}/mess.toml"), MessFile)
        recovery = self.text(f"{part}/recover.sh")
        if not recovery.strip():
            raise self.problem(f"{part}/recover.sh", "is empty: write the commands that lead out of the mess")
        for other in self.files(part):
            if other not in ("mess.toml", "recover.sh"):
                raise self.problem(f"{part}/{other}", "does not belong here: a mess is mess.toml and recover.sh")
        return Mess(name=name, recovery=recovery, **dict(known))

    def scripts(self, part: str) -> dict[str, str]:
        found = {}
        for name in self.files(part):
            if "/" in name or not name.endswith(".sh"):
                raise self.problem(f"{part}/{name}", f"does not belong here: write scripts, {part}/<name>.sh")
            found[name.removesuffix(".sh")] = script = self.text(f"{part}/{name}")
            if not script.strip():
                raise self.problem(f"{part}/{name}", "is empty: write the commands, or remove the file")
        return found

    def instruction(self, name: str) -> str:
        text = self.text(name).strip()
        if not text:
            raise self.problem(name, "is empty: say what is to be done")
        return text

    def folders(self, part: str) -> list[str]:
        """Names of the folders in a part; nothing else may lie there."""
        files = self.files(part)
        names = sorted({name.split("/", 1)[0] for name in files})
        loose = next((name for name in names if name in files), None)
        if loose is not None:
            raise self.problem(f"{part}/{loose}", f"does not belong here: make a folder {part}/<name>/")
        return names

    # ---- files ---------------------------------------------------------------------------------------------------

    def toml(self, name: str) -> dict[str, JsonValue]:
        try:
            return cast("dict[str, JsonValue]", _jsonable(tomllib.loads(self.text(name))))
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise self.problem(name, f"is not TOML: {error}") from error

    def text(self, name: str) -> str:
        try:
            return self.content(self.folder / name, name).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.problem(name, f"cannot be read as text: {error}: save it as UTF-8") from error

    def content(self, path: Path, name: str) -> bytes:
        try:
            if not stat.S_ISREG(os.lstat(path).st_mode):
                raise self.problem(name, "is a link or something else that is not a file: put the file itself there")
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise self.problem(name, "is missing: write it") from error
        except OSError as error:
            raise self.problem(name, f"cannot be read: {error.strerror}") from error

    def files(self, part: str) -> Files:
        """Every file below a part of the folder; none if the part is not there."""
        found: Files = {}
        root = self.folder / part
        if not os.path.lexists(root):
            return found
        if not stat.S_ISDIR(os.lstat(root).st_mode):
            raise self.problem(part, "is a link or a file: it must be a folder")
        for where, folders, names in os.walk(root, onerror=self.unreadable):
            # Bytecode is a trace of somebody's run, not part of the task.
            folders[:] = sorted(name for name in folders if name != "__pycache__")
            links = [name for name in folders if os.path.islink(os.path.join(where, name))]
            for name in sorted([*names, *links]):
                path = Path(where, name)
                told = path.relative_to(root).as_posix()
                if not _is_text(told):
                    raise self.problem(f"{part}/{told!a}", "has a name that is no text: rename it")
                content = self.content(path, f"{part}/{told}")
                found[told] = HarborFile(content=content, executable=bool(path.stat().st_mode & stat.S_IXUSR))
        return found

    def unreadable(self, error: OSError) -> None:
        raise self.problem(os.path.relpath(str(error.filename), self.folder), f"cannot be read: {error.strerror}")

    def problem(self, name: str, told: str) -> TaskError:
        return TaskError(printable(f"{self.folder}: {name} {told}"))


def _is_text(name: str) -> bool:
    return name.isprintable() and name == name.encode("utf-8", "replace").decode()


def _jsonable(value: object) -> JsonValue:
    if isinstance(value, dict):
        return {key: _jsonable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_jsonable(each) for each in value]
    if isinstance(value, str | int | float | bool):
        return value
    return str(value)  # TOML has dates and times besides, whose text is ISO 8601
