"""The task folders below a place, read once each, and the tasks made of them."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from agentdistill.errors import TaskError
from agentdistill.formats.harbor import HarborTask, find_tasks, read_task
from agentdistill.records import Task


class Folders:
    """Task folders.

    Args:
        root: the folder they are below, or one of them.
        environment: the id of the environment that the tasks are for.
    """

    def __init__(self, root: Path, environment: str) -> None:
        self.root = root
        self._environment = environment
        self._read: dict[str, tuple[HarborTask, str]] = {}

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """A task of each folder, by name.

        Raises:
            TaskError: there is no such place, a folder cannot be read, or two come to the same task's id.
        """
        found: dict[str, Task] = {}
        for folder in find_tasks(self.root):
            task = self._task(folder.relative_to(self.root).as_posix())
            if task.id in found:  # records would be taken for those of the other
                raise TaskError(
                    f"{str(self.root)!r}: the folders {found[task.id].data['folder']!r} and {task.data['folder']!r} "
                    f"would both be task {task.id!r}: rename one of them"
                )
            found[task.id] = task
        return tuple(found.values())

    def harbor_of(self, task: Task) -> HarborTask:
        """The folder of a task.

        Raises:
            TaskError: it is not there, or not what it was when the task was made.
        """
        where = str(task.data.get("folder", ""))
        if not where or ".." in Path(where).parts or Path(where).is_absolute():
            raise TaskError(f"task {task.id!r} names no folder under {str(self.root)!r}")
        harbor, digest = self._folder(where)
        if digest != task.data.get("digest"):
            raise TaskError(f"the task folder {where!r} has changed since task {task.id!r} was made")
        return harbor

    def _task(self, where: str) -> Task:
        harbor, digest = self._folder(where)
        return Task(
            id=f"terminal-{harbor.name.rpartition('/')[2] if where == '.' else where.replace('/', '-')}",
            environment=self._environment,
            instruction=harbor.steps[0].instruction if harbor.steps else harbor.instruction,
            data={"folder": where, "digest": digest},
            split=harbor.split,
        )

    def _folder(self, where: str) -> tuple[HarborTask, str]:
        if where not in self._read:
            harbor = read_task(self.root / where)
            self._read[where] = harbor, harbor.digest
        return self._read[where]
