"""Judging the work on a Harbor task: by our hidden tests where it has them, else by its own script's reward."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import ValidationError

from agentdistill.errors import SandboxError, TaskError, VerifierError
from agentdistill.formats.harbor import HarborFile, HarborStep, HarborTask
from agentdistill.formats.harbor.tables import Collect
from agentdistill.formats.harbor.variables import resolve_variables, wanted_variables
from agentdistill.formats.rewards import MAIN, main_reward, read_rewards
from agentdistill.redaction import guard, redact
from agentdistill.sandbox import Sandbox
from agentdistill.sandbox.base import SandboxFile
from agentdistill.verification import Crossing, HiddenTests, carry, fresh_world, run_script, run_tests
from agentdistill.verification.crossing import HIDDEN
from agentdistill.verification.scripts import LOGS

from .place import Place, verifiers_place

_GIT = ("objects", "refs", "logs", "HEAD", "ORIG_HEAD", "MERGE_HEAD", "MERGE_MSG", "index", "packed-refs")
_OPEN = Crossing(allow=tuple(f"**/.git/{name}" for name in _GIT), never=(HIDDEN,), system=("/**",))
"""What crosses to a task's own script unless it says otherwise: of a git repository all but what makes git run code,
and of the rest of the file system, where that is kept, what `agentdistill.verification.system` lets through."""
_ROOM = 64 << 20


@dataclass(frozen=True)
class Judged:
    """The rewards of a task, or of one step of it: `main` is the one that counts, in [0, 1]."""

    rewards: Mapping[str, float]
    detail: str

    @property
    def main(self) -> float:
        """See `agentdistill.formats.rewards.main_reward`."""
        return main_reward(self.rewards)


class Judge:
    """Judges the work on one task.

    Args:
        place: where the agent works.
        harbor: the task.

    Raises:
        TaskError: the task's settings for the verifier say what cannot be.
    """

    def __init__(self, place: Place, harbor: HarborTask) -> None:
        self._place = place
        self._harbor = harbor
        self._tests, self._crossing = _hidden_tests(harbor)
        if self._tests is not None:
            return
        for step in harbor.steps or (None,):  # what cannot be judged is not begun
            self._variables(step)
            verifiers_place(place.root, harbor, step, {})
            for artifact in harbor.settings.artifacts_of(step.settings if step else None):
                if artifact.service not in (None, "main"):
                    raise TaskError(f"{harbor.name}: artifacts: {artifact.service!r} is a service that is not there")
            for collect in self._collects(step):
                if collect.service != "main" or collect.user is not None:
                    raise TaskError(
                        f"{harbor.name}: verifier.collect: only the agent's own container and user are there"
                    )

    def judge(self, left: Sandbox, step: HarborStep | None = None) -> Judged:
        """Judge what an agent left.

        Raises:
            VerifierError: the machinery broke, or the script left no reward that can be read.
        """
        if self._tests is not None:
            own = self._place
            with fresh_world(left, own.backend, self._crossing, prepare=own.begin) as fresh:
                verdict = run_tests(fresh, self._tests).verdict()
            return Judged({MAIN: verdict.score}, verdict.detail)
        separate = self._harbor.settings.verifier_mode(step.settings if step else None) == "separate"
        place, lay = verifiers_place(self._place.root, self._harbor, step, self._variables(step))
        tests = _files(step.tests if step is not None else self._harbor.tests) if lay else None
        if separate:
            with self._collected(left, step) as kept, _closing(place) as fresh:
                self._carry(kept, fresh, step)
                return _run(fresh, tests)
        crossing = self._crossing.model_copy(update={"never": (*self._crossing.never, HIDDEN)})
        with fresh_world(left, place.backend, crossing, prepare=place.begin) as fresh:
            return _run(fresh, tests)

    def _variables(self, step: HarborStep | None) -> dict[str, str]:
        tables = {"task.toml: verifier.env": self._harbor.settings.verifier.env}
        if step is not None:
            tables[f"task.toml: steps[{step.name}].verifier.env"] = step.settings.verifier.env
        found: dict[str, str] = {}
        for where, table in tables.items():
            for name in wanted_variables(table):
                guard(name)  # what the script writes may repeat it
            found |= resolve_variables(table, os.environ, where)
        return found

    def _collects(self, step: HarborStep | None) -> tuple[Collect, ...]:
        own = step.settings.verifier.collect if step is not None else ()
        return own or self._harbor.settings.verifier.collect

    @contextmanager
    def _collected(self, left: Sandbox, step: HarborStep | None) -> Iterator[Sandbox]:
        """The agent's world after the task's own commands, in a fork: the agent's is left as it is."""
        collects = self._collects(step)
        if not collects:
            yield left
            return
        owner = f"collect-{id(left):x}"
        backend = self._place.backend
        fork = backend.create(left.snapshot(owner))
        try:
            for collect in collects:
                line = f"{self._place.enter(fork)} && {collect.command}"
                ended = fork.exec(["/bin/sh", "-c", line], timeout=max(1.0, collect.timeout_sec))
                if ended.exit_code:
                    raise VerifierError(f"verifier.collect: {collect.command[:80]!r} ended with {ended.exit_code}")
            yield fork
        finally:
            fork.close()
            self._place.root.release(owner)

    def _carry(self, left: Sandbox, fresh: Sandbox, step: HarborStep | None) -> None:
        """Carry ``/logs/artifacts`` and the declared artifacts over, to the same absolute paths."""
        room = _ROOM - carry(left, fresh, f"{LOGS}/artifacts", f"{LOGS}/artifacts")
        here, there = left.workspace, fresh.workspace
        for artifact in self._harbor.settings.artifacts_of(step.settings if step else None):
            path = artifact.source.rstrip("/")
            path = path if path.startswith("/") else f"{self._place.workdir or here}/{path}"
            source = _within(path, here) or _logs(path)
            if source is None:
                continue  # refused when the task was begun, unless the image alone knows where it works
            target = _within(path, there) or _logs(path) or f"{HIDDEN}/artifacts{path}"
            room -= carry(left, fresh, source, target, exclude=artifact.exclude, room=room)


def _run(fresh: Sandbox, tests: Mapping[str, SandboxFile] | None) -> Judged:
    run = run_script(fresh, tests)
    told = redact(run.told)
    if run.ended.timed_out:
        # Whether the work or the script does not come to an end cannot be told; the solution's does.
        return Judged({MAIN: 0.0}, told)
    rewards = read_rewards(run.json_file, run.text_file)
    main_reward(rewards)
    return Judged(rewards, told)


@contextmanager
def _closing(place: Place) -> Iterator[Sandbox]:
    """A fresh sandbox of a place, into which nothing crosses by itself."""
    try:
        fresh = place.backend.create()
        try:
            place.begin(fresh)
            yield fresh
        finally:
            fresh.close()
    except SandboxError as error:
        raise VerifierError(f"the work could not be verified: {error}") from error


def _within(path: str, folder: str) -> str | None:
    """`path` relative to `folder`, ``.`` for the folder itself; `None` if it is elsewhere."""
    if path == folder:
        return "."
    return path[len(folder) + 1 :] if path.startswith(f"{folder}/") else None


def _logs(path: str) -> str | None:
    below = _within(path, "/logs")
    return None if below is None or below == "." else f"{LOGS}/{below}"


def _files(files: Mapping[str, HarborFile]) -> dict[str, SandboxFile]:
    # The script is started by its name, whatever its mode is where the folder was copied to.
    return {name: SandboxFile(file.content, file.executable or name == "test.sh") for name, file in files.items()}


def _hidden_tests(harbor: HarborTask) -> tuple[HiddenTests | None, Crossing]:
    """What ``[metadata.agentdistill.verifier]`` says; without it, no hidden tests, and nearly everything crosses.

    Raises:
        TaskError: it says what cannot be.
    """
    table = harbor.table("metadata", "agentdistill", "verifier")
    settings = {key: value for key, value in table.items() if key != "crossing"}
    files = {name: file.content for name, file in harbor.tests.items() if name != "test.sh"}
    try:
        default = Crossing() if settings else _OPEN
        crossing = Crossing.model_validate(table["crossing"]) if "crossing" in table else default
        return HiddenTests.model_validate({**settings, "files": files}) if settings else None, crossing
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise TaskError(f"task {harbor.name!r}: [metadata.agentdistill.verifier] {where}: {first['msg']}") from error
