"""Folder: a task folder in Harbor form, run as it lies on disk: a shell in the task's files, and `submit`.

What crosses over to verification are the regular files that the agent left in the workspace (links are not followed;
only files that begin with ``#!`` stay executable). They are laid into a fresh sandbox with a clean shell, where
``tests/test.sh`` runs with the task's tests read-only under ``/run/files``. Its *exit code* is the verdict, 0 for
passed: unlike a reward file, nothing that the agent left can write it. A test that loads the agent's code into its own
process can still be made to end early with 0, so tests should run that code in a child process and judge what it
prints, as those under ``tasks/`` do. What is not prevented: a child that attacks the judging process through ``/proc``.

Not supported yet: images (a ``Dockerfile``, or a `docker_image` unless ``[metadata.agentdistill] needs_image = false``
says that any sandbox will do), rewards between 0 and 1, tests that expect to lie at ``/tests``.
"""

from __future__ import annotations

from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from agentdistill.environment import ToolEnvironment
from agentdistill.errors import TaskError, ToolError, VerifierError
from agentdistill.formats.harbor import HarborTask, find_tasks, read_task
from agentdistill.records import Message, Task, ToolCall, Verdict
from agentdistill.sandbox import Sandbox, SandboxBackend
from agentdistill.tools import tool

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
            self._read[where] = read_task(self.tasks / where)
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
        self.state = None
        assert self.sandbox is not None
        for name, file in harbor.environment.items():
            self.sandbox.write_file(name, file.content, executable=file.executable)

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
        """Run the task's tests in a fresh sandbox on the files that the agent left.

        Raises:
            VerifierError: the tests could not be run at all.
        """
        assert self.sandbox is not None
        tests = {name: file.content for name, file in self.harbor.tests.items()}
        with closing(self.backend.create()) as fresh:
            _copy_files(self.sandbox, fresh)
            result = fresh.exec(["bash", "/run/files/test.sh"], files=tests)
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


def _copy_files(left: Sandbox, fresh: Sandbox) -> None:
    for name in left.list_files():
        try:
            content = left.read_file(name)
        except PermissionError:
            continue  # a link, or what no task can ask for
        fresh.write_file(name, content, executable=content.startswith(b"#!"))


def _commands(harbor: HarborTask) -> list[str]:
    """The solution line by line, or whole where lines belong together (a here-document, a continued line)."""
    if "solve.sh" not in harbor.solution:
        return []
    script = harbor.solution["solve.sh"].content.decode("utf-8", "replace")
    if "<<" in script or "\\\n" in script:
        return [script]
    lines = [line.strip() for line in script.splitlines()]
    return [line for line in lines if line and not line.startswith(("#", "set "))]
