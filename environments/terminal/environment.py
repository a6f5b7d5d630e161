"""The environment itself: tasks, tools, and the way through a task's steps."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from agentdistill.errors import SandboxError, TaskError
from agentdistill.formats.harbor import HarborFile, HarborStep, HarborTask
from agentdistill.formats.harbor.tables import Healthcheck
from agentdistill.formats.harbor.variables import resolve_variables
from agentdistill.formats.rewards import main_reward
from agentdistill.records import Message, Record, Task, Verdict
from agentdistill.sandbox import ExecResult, SandboxBackend
from agentdistill.sandbox.base import SandboxFile
from agentdistill.tools import tool

from .folders import Folders
from .judging import Judge
from .place import SHELL, Place, agents_place
from .teacher import next_turn, script_of
from .tools import Tools

ENVIRONMENT = "agentdistill/Terminal-v0"
_FEWEST = 20


class Standing(Record):
    """How far a task of several steps has come: the rewards of the steps that are done, in order."""

    rewards: tuple[dict[str, float], ...] = ()
    details: tuple[str, ...] = ()


class Terminal(Tools):
    """Runs Harbor task folders: a shell and an editor in the task's world, and `submit`; the package says more."""

    styles: ClassVar[tuple[str, ...]] = ("knowing",)
    state: Standing

    def __init__(
        self,
        *,
        tasks: str | Path = "tasks",
        step_limit: int = 40,
        most_lines: int = 400,
        most_characters: int = 16_000,
        sandboxes: SandboxBackend | None = None,
        render_mode: str | None = None,
    ) -> None:
        """See the class.

        Args:
            tasks: folder under which the task folders lie, by default ``tasks`` where one stands; or one of them.
            step_limit: turns an episode may take.
            most_lines: of a command's output, or of a file, that a model is shown at once; at least 20.
            most_characters: likewise.
            sandboxes: where sandboxes come from.
            render_mode: see Gymnasium.
        """
        super().__init__(sandboxes=sandboxes, render_mode=render_mode)
        if min(step_limit, most_lines - _FEWEST + 1, most_characters - _FEWEST + 1) < 1:
            raise ValueError(f"step_limit is at least 1, most_lines and most_characters at least {_FEWEST}")
        self.tasks = Path(tasks)
        self.step_limit = step_limit
        self.most_lines, self.most_characters = most_lines, most_characters
        self._folders = Folders(self.tasks, ENVIRONMENT)
        self._judges: dict[str, tuple[Place, Judge]] = {}

    # ---- tasks ---------------------------------------------------------------------------------------------------

    def make_tasks(self, split: str, count: int, seed: int = 0, first: int = 0) -> list[Task]:
        """Up to `count` task folders of a split, from the `first`, by name; `seed` is not used.

        The split is `split` in the folder's ``[metadata]``, `train` if it is not there.

        Raises:
            TaskError: a folder cannot be read.
        """
        return [task for task in self._folders.tasks if task.split == split][first : first + count]

    def make_task(self, rng: np.random.Generator) -> Task:
        """One of the folders, drawn with `rng`.

        Raises:
            TaskError: there are none, or one cannot be read.
        """
        known = self._folders.tasks
        if not known:
            raise TaskError(f"there are no task folders under {str(self.tasks)!r}")
        return known[int(rng.integers(len(known)))]

    @property
    def harbor(self) -> HarborTask:
        """The folder of the present task.

        Raises:
            TaskError: it is not there, or not what it was when the task was made.
        """
        return self._folders.harbor_of(self.task)

    @property
    def present_step(self) -> HarborStep | None:
        """The step that the agent is at, or was last; `None` where a task has only one."""
        steps = self.harbor.steps
        return steps[min(len(self.state.rewards), len(steps) - 1)] if steps else None

    # ---- the world -----------------------------------------------------------------------------------------------

    def backend_for(self, task: Task) -> SandboxBackend:
        """See `ToolEnvironment.backend_for`: the task's image, directory, user and limits, where it has any."""
        return self._judge(task)[0].backend

    def _judge(self, task: Task) -> tuple[Place, Judge]:
        harbor = self._folders.harbor_of(task)
        key = str(task.data["digest"])
        if key not in self._judges:
            place = agents_place(self.backend, harbor)
            self._judges[key] = place, Judge(place, harbor)
        return self._judges[key]

    @property
    def _place(self) -> Place:
        return self._judge(self.task)[0]

    def setup(self, task: Task) -> None:
        """Lay the task's files, begin its first step, and wait until the world is healthy.

        Raises:
            TaskError: the task needs what this backend does not have.
            SandboxError: it does not become healthy.
        """
        assert self.sandbox is not None
        self.state = Standing()
        self._place.begin(self.sandbox)
        self._wait_for_health(self.harbor.settings.environment.healthcheck)
        self._begin_step()

    def _begin_step(self) -> None:
        assert self.sandbox is not None
        step = self.present_step
        if step is None:
            return
        self.sandbox.upload({name: SandboxFile(f.content, f.executable) for name, f in step.workdir.items()}, self.base)
        if "setup.sh" in step.workdir:
            ended = self.sandbox.exec(["/bin/sh", "-c", f"{self._place.enter(self.sandbox)} && {SHELL} ./setup.sh"])
            if ended.exit_code:
                raise SandboxError(
                    f"setup.sh of step {step.name!r} ended with {ended.exit_code}: {ended.output[-200:]}"
                )
        self._wait_for_health(step.settings.healthcheck)

    def _wait_for_health(self, check: Healthcheck | None) -> None:
        """Try until the command ends with 0; as Docker has it, failures in the first while do not count."""
        assert self.sandbox is not None
        failures, began = 0, time.monotonic()
        while check is not None:
            line = f"{self._place.enter(self.sandbox)} && {check.command}"
            ended = self.sandbox.exec(["/bin/sh", "-c", line], timeout=check.timeout_sec or None)
            if ended.exit_code == 0:
                return
            starting = time.monotonic() - began < check.start_period_sec
            failures += not starting
            if failures >= check.retries:
                raise SandboxError(f"the world of {self.task.id!r} is not healthy: {ended.output.strip()[-200:]}")
            time.sleep(check.start_interval_sec if starting else check.interval_sec)

    @property
    def base(self) -> str:
        """See `Tools.base`."""
        return self._place.workdir or "."

    @tool
    def submit(self) -> str:
        """Hand the work in. This ends the task, or leads to the next part of it."""
        assert self.sandbox is not None
        steps = self.harbor.steps
        if not steps:
            self.end()
            return "submitted"
        step = steps[len(self.state.rewards)]
        judged = self._judge(self.task)[1].judge(self.sandbox, step)
        self.state = Standing(
            rewards=(*self.state.rewards, dict(judged.rewards)), details=(*self.state.details, judged.detail)
        )
        if len(self.state.rewards) == len(steps) or not step.settings.goes_on(dict(judged.rewards)):
            self.end()
            return "submitted"
        self._begin_step()
        following = steps[len(self.state.rewards)]
        return f"submitted; now part {len(self.state.rewards) + 1} of {len(steps)}:\n\n{following.instruction}"

    @property
    def patience(self) -> float | None:
        """See `Tools.patience`: the task's time for an agent, which bounds each command here."""
        step = self.present_step
        own = step.settings.agent.timeout_sec if step is not None else None
        return own or self.harbor.settings.agent.timeout_sec or None

    # ---- the verdict ---------------------------------------------------------------------------------------------

    def verify(self) -> Verdict:
        """Judge the work; see the package's docstring. Where an episode ends within a step, that is judged as it is.

        Raises:
            VerifierError: the tests could not be run at all, or left no reward.
        """
        assert self.sandbox is not None
        judge, steps = self._judge(self.task)[1], self.harbor.steps
        if not steps:
            judged = judge.judge(self.sandbox)
            return Verdict(passed=judged.main >= 1, score=judged.main, detail=judged.detail)
        rewards, details = list(self.state.rewards), list(self.state.details)
        if not self._ended and len(rewards) < len(steps):
            judged = judge.judge(self.sandbox, steps[len(rewards)])
            rewards.append(dict(judged.rewards))
            details.append(judged.detail)
        each = [main_reward(step) for step in rewards]
        final = self.harbor.settings.multi_step_reward_strategy == "final"
        score = each[-1] if final else sum(each) / len(each)
        told = ", ".join(f"{step.name} {value:g}" for step, value in zip(steps, each, strict=False))
        passed = len(each) == len(steps) and score >= 1
        return Verdict(passed=passed, score=score, detail=f"{told}; {details[-1]}")

    # ---- who knows -----------------------------------------------------------------------------------------------

    def reference(self) -> str:
        """See `ToolEnvironment.reference`: the script of the reference solution."""
        scripts = [script_of(files) for files in self._solutions]
        return "\n".join(f"This script does the work:\n\n{script}" for script in scripts if script)

    def teach(self, messages: tuple[Message, ...], style: str) -> Message:
        """The next command of the solution that has not been given in this conversation; then `submit`."""
        return next_turn(messages, self._solutions)

    @property
    def _solutions(self) -> list[dict[str, HarborFile]]:
        harbor = self.harbor
        return [step.solution for step in harbor.steps] or [harbor.solution]

    def run_solution(self) -> ExecResult:
        """Run the reference solution of the task, or of the present step, in the world as it is: for checks of tasks.

        Raises:
            TaskError: there is none, or it needs a variable of this machine that is not set.
        """
        step, harbor = self.present_step, self.harbor
        files = step.solution if step is not None else harbor.solution
        if "solve.sh" not in files:
            raise TaskError(f"{harbor.name}: there is no solution/solve.sh")
        variables = resolve_variables(harbor.settings.solution.env, os.environ, "task.toml: solution.env")
        return self.run_script(script_of(files), {name: file.content for name, file in files.items()}, variables)

    def run_script(
        self, script: str, files: Mapping[str, bytes] | None = None, variables: Mapping[str, str] | None = None
    ) -> ExecResult:
        """Run a bash script in the working directory, as the agent's user, with `files` beside it: for checks of tasks.

        It is a command like any other, but that no tool is called: no step is taken, no signal left.
        """
        assert self.sandbox is not None
        exports = "".join(f"export {name}={shlex.quote(value)}; " for name, value in (variables or {}).items())
        line = f"{exports}{self._place.enter(self.sandbox)} && {SHELL} /run/files/solve.sh"
        return self.sandbox.exec(["/bin/sh", "-c", line], files={**(files or {}), "solve.sh": script.encode()})
