"""Folder: a task folder in Harbor form, run as it lies on disk: a shell in the task's files, and `submit`.

The work is judged in a fresh sandbox with the task's own files, over which those that the agent left are laid (see
`agentdistill.verification.crossing`). A task with a table ``[metadata.agentdistill.verifier]`` is judged by the Python
tests in its ``tests`` folder, as hidden tests: the table has the fields of `agentdistill.verification.HiddenTests` (but
for `files`), above all ``modules``, the names of what is under test; and ``crossing``, with those of `Crossing`::

    [metadata.agentdistill.verifier]
    modules = ["stock"]

Without that table, ``tests/test.sh`` runs with the tests under ``/run/files``, and its *exit code* is the verdict, 0
for passed. That is as strong as the script: work that it runs in its own process can end it with 0, and work that it
runs in another can read the tests. Nothing that the agent left is read as a reward.

Not supported yet: images (a ``Dockerfile``, or a `docker_image` unless ``[metadata.agentdistill] needs_image = false``
says that any sandbox will do), rewards between 0 and 1, tests that expect to lie at ``/tests``.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import ValidationError

from agentdistill.environment import ToolEnvironment
from agentdistill.errors import TaskError, ToolError, VerifierError
from agentdistill.formats.harbor import HarborTask, find_tasks, read_task
from agentdistill.records import Message, Task, ToolCall, Verdict
from agentdistill.sandbox import SandboxBackend
from agentdistill.sandbox.base import SandboxFile
from agentdistill.tools import tool
from agentdistill.verification import Crossing, HiddenTests, fresh_world, run_tests

ENVIRONMENT = "agentdistill/Folder-v0"
_IMAGE_FILES = ("Dockerfile", "docker-compose.yaml", "docker-compose.yml")
_NOT_RUNNABLE = (126, 127)


class Folder(ToolEnvironment):
    """Runs Harbor task folders; see the module's docstring."""

    uses_sandbox = True
    step_limit = 20
    styles: ClassVar[tuple[str, ...]] = ("knowing",)
    state: None

    def __init__(
        self,
        *,
        tasks: str | Path = "tasks",
        sandboxes: SandboxBackend | None = None,
        render_mode: str | None = None,
    ) -> None:
        """`tasks` is the folder under which the task folders lie, by default ``tasks`` where one stands."""
        super().__init__(sandboxes=sandboxes, render_mode=render_mode)
        self.tasks = Path(tasks)
        self._read: dict[str, HarborTask] = {}

    # ---- tasks ---------------------------------------------------------------------------------------------------

    def make_tasks(self, split: str, count: int, seed: int = 0, first: int = 0) -> list[Task]:
        """Up to `count` task folders of a split, from the `first`, by name; `seed` is not used.

        The split is `split` in the folder's ``[metadata]``, `train` if it is not there.

        Raises:
            TaskError: a folder cannot be read.
        """
        return [task for task in self._known if task.split == split][first : first + count]

    def make_task(self, rng: np.random.Generator) -> Task:
        """One of the folders, drawn with `rng`.

        Raises:
            TaskError: there are none, or one cannot be read.
        """
        if not self._known:
            raise TaskError(f"there are no task folders under {str(self.tasks)!r}")
        return self._known[int(rng.integers(len(self._known)))]

    @cached_property
    def _known(self) -> list[Task]:
        return [self._task(folder.relative_to(self.tasks).as_posix()) for folder in find_tasks(self.tasks)]

    def _task(self, where: str) -> Task:
        harbor = self._folder(where)
        return Task(
            id=f"folder-{where.replace('/', '-')}",
            environment=ENVIRONMENT,
            instruction=harbor.instruction,
            data={"folder": where, "digest": harbor.digest},
            split=str(harbor.table("metadata").get("split", "train")),
        )

    def _folder(self, where: str) -> HarborTask:
        if where not in self._read:
            self._read[where] = harbor = read_task(self.tasks / where)
            if harbor.steps:
                raise TaskError(f"the task folder {where!r} has several steps: those cannot be run yet")
        return self._read[where]

    @property
    def harbor(self) -> HarborTask:
        """The folder of the present task.

        Raises:
            TaskError: it is not there, or not what it was when the task was made.
        """
        where = str(self.task.data.get("folder", ""))
        if not where or ".." in Path(where).parts or Path(where).is_absolute():
            raise TaskError(f"task {self.task.id!r} names no folder under {str(self.tasks)!r}")
        harbor = self._folder(where)
        if harbor.digest != self.task.data.get("digest"):
            raise TaskError(f"the task folder {where!r} has changed since task {self.task.id!r} was made")
        return harbor

    # ---- the world -----------------------------------------------------------------------------------------------

    def setup(self, task: Task) -> None:
        """Lay the task's environment files into the workspace."""
        harbor = self.harbor
        needs_image = harbor.table("metadata", "agentdistill").get("needs_image", True)
        image = next((name for name in _IMAGE_FILES if name in harbor.environment), None)
        if image or (needs_image and "docker_image" in harbor.table("environment")):
            raise TaskError(
                f"task {task.id!r} needs a container image ({image or 'docker_image'}): only plain files run here"
            )
        _hidden_tests(harbor)
        self.state = None
        assert self.sandbox is not None
        self.sandbox.upload(_own_files(harbor))

    @tool
    def bash(self, command: str) -> str:
        """Run a shell command line. The working directory and exported variables persist.

        Args:
            command: what to run, without a terminal and without network
        """
        assert self.sandbox is not None
        result = self.sandbox.exec(command)
        self.signal(exit_code=result.exit_code)
        if result.timed_out:
            self.signal(timed_out=True)
            raise ToolError(f"the command took too long and was stopped\n{result.output}".rstrip())
        if result.exit_code or not result.output:
            return f"{result.output}[exit code {result.exit_code}]"
        return result.output

    @tool
    def submit(self) -> str:
        """Hand the work in. This ends the task."""
        self.end()
        return "submitted"

    def verify(self) -> Verdict:
        """Run the task's tests in a fresh sandbox on the files that the agent left; see the module's docstring.

        Raises:
            VerifierError: the tests could not be run at all.
        """
        assert self.sandbox is not None
        tests, crossing = _hidden_tests(self.harbor)
        with fresh_world(self.sandbox, self.backend, crossing, _own_files(self.harbor)) as fresh:
            if tests is not None:
                return run_tests(fresh, tests).verdict()
            files = {name: file.content for name, file in self.harbor.tests.items()}
            result = fresh.exec(["bash", "/run/files/test.sh"], files=files, timeout=_patience(self.harbor))
        if result.exit_code in _NOT_RUNNABLE:
            raise VerifierError(f"tests/test.sh could not be run: {result.output.strip()[-200:]}")
        passed = result.exit_code == 0 and not result.timed_out
        ending = "timed out" if result.timed_out else f"exit code {result.exit_code}"
        last = result.output.strip().rsplit("\n", 1)[-1][:200]
        return Verdict(passed=passed, score=float(passed), detail=f"test.sh: {ending}; {last}")

    # ---- the teacher ---------------------------------------------------------------------------------------------

    def teach(self, messages: tuple[Message, ...], style: str) -> Message:
        """The next command of the solution that has not been given in this conversation; then `submit`."""
        given = iter([str(call.arguments.get("command")) for message in messages for call in message.tool_calls])
        # `in` on an iterator goes on where the command before was found: they must have been given in this order.
        command = next((each for each in _commands(self.harbor) if each not in given), None)
        number = sum(message.role == "assistant" for message in messages)
        call = ToolCall(
            id=f"call_{number}_0",
            name="submit" if command is None else "bash",
            arguments={} if command is None else {"command": command},
        )
        return Message(role="assistant", tool_calls=(call,))


def _patience(harbor: HarborTask) -> float | None:
    """Seconds that the task gives its verifier, if it says so; a sandbox may give less."""
    table = harbor.config.get("verifier")
    seconds = table.get("timeout_sec") if isinstance(table, dict) else None
    return float(seconds) if isinstance(seconds, int | float) and seconds > 0 else None


def _own_files(harbor: HarborTask) -> dict[str, SandboxFile]:
    return {name: SandboxFile(file.content, file.executable) for name, file in harbor.environment.items()}


def _hidden_tests(harbor: HarborTask) -> tuple[HiddenTests | None, Crossing]:
    """What the task's table for the verifier says; without it, no hidden tests, and everything crosses.

    Raises:
        TaskError: it says what cannot be.
    """
    table = harbor.table("metadata", "agentdistill", "verifier")
    settings = {key: value for key, value in table.items() if key != "crossing"}
    files = {name: file.content for name, file in harbor.tests.items() if name != "test.sh"}
    try:
        crossing = Crossing.model_validate(table.get("crossing", {}))
        return HiddenTests.model_validate({**settings, "files": files}) if settings else None, crossing
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise TaskError(f"task {harbor.name!r}: [metadata.agentdistill.verifier] {where}: {first['msg']}") from error


def _commands(harbor: HarborTask) -> list[str]:
    """The solution line by line, or whole where lines belong together (a here-document, a continued line)."""
    if "solve.sh" not in harbor.solution:
        return []
    script = harbor.solution["solve.sh"].content.decode("utf-8", "replace")
    if "<<" in script or "\\\n" in script:
        return [script]
    lines = [line.strip() for line in script.splitlines()]
    return [line for line in lines if line and not line.startswith(("#", "set "))]
