"""Whether a task is fit to be learnt from and measured by: the checks of ``agentdistill task check``.

The solution earns 1; nothing done, the wrong fixes that come with it and every cheat earn 0; every mess earns 0 as it
is and 1 after its recovery; the same again earns the same; and nothing hidden can be found while anyone acts. Each
attempt begins from the world as the task starts, and is judged as an agent's would be.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar, cast

from agentdistill.environment import ToolEnvironment
from agentdistill.errors import TaskError, UnknownNameError, VerifierError, printable
from agentdistill.formats.harbor import HarborFile, HarborTask, Mess, read_task
from agentdistill.messes import Start, act_out, rewound
from agentdistill.records import Message, Record, Snapshot, Task, ToolCall, Trajectory, Verdict
from agentdistill.sandbox import SandboxBackend
from agentdistill.testing.cheats import CHEATS

REPEATS = 3
_SHORTEST = 24
_LINES = 6
_COMMON = frozenset({"__init__.py", "conftest.py", "Dockerfile"})
_SEARCH = r"""
import json, os, stat, sys
with open("/run/files/hidden.json") as file:
    hidden = json.load(file)
names, lines = set(hidden["names"]), [line.encode() for line in hidden["lines"]]
skipped = {"/proc", "/sys", "/dev", "/usr", "/lib", "/lib64", "/bin", "/sbin", sys.prefix, sys.base_prefix}
def look(path, content):
    for line in lines:
        if line in content:
            print(f"{path} holds {line.decode()!r}")
            return
for where, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if os.path.join(where, name) not in skipped]
    for name in files:
        path = os.path.join(where, name)
        if path == "/run/files/hidden.json":
            continue
        if name in names:
            print(f"{path} has the name of a hidden file")
        try:
            known = os.lstat(path)
            if stat.S_ISREG(known.st_mode) and known.st_size < 1 << 23:
                with open(path, "rb") as file:
                    look(path, file.read())
        except OSError:
            pass
for process in os.listdir("/proc"):
    for part in ("environ", "cmdline"):
        if process.isdigit() and int(process) != os.getpid():
            try:
                with open(f"/proc/{process}/{part}", "rb") as file:
                    look(f"/proc/{process}/{part}", file.read())
            except OSError:
                pass
"""

Files = Mapping[str, HarborFile]
Part = TypeVar("Part")


class TaskCheck(Record):
    """What one check of one task found; `detail` is one line."""

    task: str
    name: str
    status: Literal["passed", "failed", "not_applicable"]
    detail: str = ""
    seconds: float = 0.0


class _Failed(Exception):
    """The task is not what this check asks."""


class _NotThere(Exception):
    """The task does not come with what this check is about."""


def check_task(
    make: Callable[..., ToolEnvironment], folder: Path, sandboxes: SandboxBackend, only: Sequence[str] = ()
) -> Iterator[TaskCheck]:
    """Run every check on the task in a folder.

    Args:
        make: makes the environment; it is passed ``tasks=``, the folder, and ``sandboxes=``.
        folder: of the task.
        sandboxes: where sandboxes come from.
        only: the checks that have one of these in their name; all, if there are none. Whether the task can be run at
            all is always checked.

    Raises:
        TaskError: the folder is not that of a task.
        UnknownNameError: one of `only` is in the name of no check.
        SandboxError: the machinery broke; nothing is said about the task.
    """
    harbor = read_task(folder)
    environment = make(tasks=folder, sandboxes=sandboxes)
    try:
        checks = list(_checks(_Trial(environment, folder, harbor)))
        for part in only:
            if not any(part in name for name, _ in checks):
                raise UnknownNameError(f"--only {part!r} fits no check. They are: {'; '.join(n for n, _ in checks)}")
        for name, check in checks:
            if only and name != _STARTS and not any(part in name for part in only):
                continue
            began = time.monotonic()
            status: Literal["passed", "failed", "not_applicable"] = "passed"
            try:
                detail = check()
            except _NotThere as reason:
                status, detail = "not_applicable", str(reason)
            except (_Failed, TaskError) as reason:
                status, detail = "failed", str(reason)
            except VerifierError as reason:
                status, detail = "failed", f"the verifier broke: {reason}"
            told = printable(detail)[:300]
            seconds = round(time.monotonic() - began, 3)
            yield TaskCheck(task=folder.name, name=name, status=status, detail=told, seconds=seconds)
            if name == _STARTS and status == "failed":
                return
    finally:
        environment.close()


_STARTS = "it can be run here"


def _checks(trial: _Trial) -> Iterator[tuple[str, Callable[[], str]]]:
    yield _STARTS, trial.start
    yield "the solution scores 1", trial.solution
    yield "nothing done scores 0", trial.nothing
    yield "every wrong fix scores 0", trial.wrong
    yield "every cheat scores 0", trial.cheats
    yield "every mess scores 0 as it is", trial.messes
    yield "every mess can be recovered from", trial.recoveries
    yield f"{REPEATS} repeats agree", trial.repeats
    yield "nothing hidden can be found while acting", trial.hidden


class _Trial:
    """One task in one environment, and where it starts."""

    def __init__(self, environment: ToolEnvironment, folder: Path, harbor: HarborTask) -> None:
        self.environment, self.folder, self.harbor = environment, folder, harbor
        self.task = Task(id="", environment="", instruction="")
        self.begun: Snapshot | None = None
        self.played: dict[str, Trajectory] = {}

    # ---- the checks ----------------------------------------------------------------------------------------------

    def start(self) -> str:
        found = self.environment.make_tasks(self.harbor.split, 1)
        if not found:
            raise _Failed(f"the environment finds no task of the split {self.harbor.split!r} here")
        self.task = found[0]
        self.environment.reset(seed=0, options={"task": self.task})
        self.begun = self.environment.snapshot()
        return f"step limit {self.environment.step_limit}"

    def solution(self) -> str:
        return self._wins(self._fresh().solved(), "the solution")

    def nothing(self) -> str:
        return self._loses(self._fresh().judged(), "doing nothing")

    def wrong(self) -> str:
        for name, script in self._there(self.harbor.wrong, "wrong/<name>.sh").items():
            self._fresh().scripted(f"wrong/{name}.sh", script)
            if self.environment.snapshot().sandbox == self._start.sandbox:
                raise _Failed(f"wrong/{name}.sh changes nothing")
            self._loses(self.judged(), f"wrong/{name}.sh")
        return ", ".join(self.harbor.wrong)

    def cheats(self) -> str:
        own = {f"cheats/{name}.sh": script for name, script in self.harbor.cheats.items()}
        for name, script in {**CHEATS, **own}.items():
            self._fresh().scripted(name, script, may_fail=True)
            self._loses(self.judged(), f"a cheat ({name})")
        return f"{len(CHEATS)} general, {len(own)} of its own"

    def messes(self) -> str:
        for mess in self._messes():
            self.made(mess)
            self._loses(self.judged(), f"messes/{mess.name} as it is")
        return ", ".join(mess.name for mess in self.harbor.messes)

    def recoveries(self) -> str:
        for mess in self._messes():
            self.made(mess)
            self.scripted(f"messes/{mess.name}/recover.sh", mess.recovery)
            self._wins(self.judged(self._solutions()[1:]), f"messes/{mess.name}/recover.sh")
        return ", ".join(mess.name for mess in self.harbor.messes)

    def repeats(self) -> str:
        ways: dict[str, Callable[[], Verdict]] = {"doing nothing": self.judged}
        if any(self._solutions()):
            ways["the solution"] = self.solved
        for name, way in ways.items():
            scores = []
            for seed in range(REPEATS):
                self.environment.reset(seed=seed, options={"task": self.task})
                scores.append(way().score)
            if len(set(scores)) > 1:
                raise _Failed(f"{name} scores {', '.join(f'{score:g}' for score in scores)}")
        return ", ".join(ways)

    def hidden(self) -> str:
        looked = ["at the start"]
        self._fresh().searched("at the start")
        for mess in self.harbor.messes:
            self.made(mess)
            self.searched(f"in messes/{mess.name}")
            looked.append(f"in {mess.name}")
        return ", ".join(looked)

    # ---- doing ---------------------------------------------------------------------------------------------------

    @property
    def _start(self) -> Snapshot:
        assert self.begun is not None, "nothing is checked before it has begun"
        return self.begun

    def _fresh(self) -> _Trial:
        self.environment.restore(self._start, task=self.task)
        return self

    def scripted(self, name: str, script: str, *, may_fail: bool = False) -> None:
        """Run a script in the working directory, as if the agent had."""
        self._run(name, {"script.sh": HarborFile(content=script.encode())}, "script.sh", may_fail)

    def _run(self, name: str, files: Files, entry: str, may_fail: bool = False) -> None:
        sandbox = self.environment.sandbox
        if sandbox is None:
            raise _Failed("its environment has no sandbox, so that no script can be run")
        ended = sandbox.exec(f"bash /run/files/{entry}", files={path: file.content for path, file in files.items()})
        if not may_fail and (ended.exit_code or ended.timed_out):
            how = "took too long" if ended.timed_out else f"ended with {ended.exit_code}"
            raise _Failed(f"{name} {how}: {ended.output.strip()[-150:]}")

    def made(self, mess: Mess) -> None:
        """Go to where a mess leads, as the benchmark does: played once, and restored from then on."""
        if mess.name not in self.played:
            limit = self.environment.step_limit
            try:
                start = Start(self.folder.parent, self.folder.name, self.harbor, mess, self.task)
                played, _ = act_out(start, self.environment)
            finally:
                self.environment.step_limit = limit
            self.played[mess.name] = rewound(played)
        world = self.played[mess.name].world(len(mess.actions))
        assert world is not None
        self.environment.restore(world, task=self.task)

    def solved(self) -> Verdict:
        """Run the solution, of each step in turn, and submit."""
        first, *rest = self._solutions()
        self._there(first, "solution/solve.sh")
        self._run("solution/solve.sh", first, "solve.sh")
        return self.judged(rest)

    def judged(self, rest: Sequence[Files] = ()) -> Verdict:
        """Submit; where steps follow, work on each with its part of `rest` and submit again."""
        for number in range(max(1, len(self.harbor.steps))):
            if number and number <= len(rest) and rest[number - 1]:
                self._run(f"solution/solve.sh of step {number + 1}", rest[number - 1], "solve.sh")
            call = ToolCall(id=f"call_submit_{number}", name="submit")
            *_, info = self.environment.step(Message(role="assistant", tool_calls=(call,)))
            if "verdict" in info:
                return cast("Verdict", info["verdict"])
        raise _Failed("the task was submitted and is not over")

    def searched(self, when: str) -> None:
        sandbox = self.environment.sandbox
        assert sandbox is not None
        wanted = json.dumps({"names": sorted(self._hidden_names()), "lines": self._hidden_lines()}).encode()
        found = sandbox.exec([sandbox.python, "-I", "-S", "-c", _SEARCH], files={"hidden.json": wanted})
        if found.exit_code or found.output.strip():
            raise _Failed(
                f"{when}: {(found.output.strip() or f'the search ended with {found.exit_code}').splitlines()[0]}"
            )

    # ---- what there is -------------------------------------------------------------------------------------------

    def _solutions(self) -> list[Files]:
        return [step.solution for step in self.harbor.steps] or [self.harbor.solution]

    def _messes(self) -> tuple[Mess, ...]:
        if not self.harbor.messes:
            raise _NotThere("it comes without messes/")
        return self.harbor.messes

    def _there(self, found: Mapping[str, Part], what: str) -> Mapping[str, Part]:
        if not found:
            raise _NotThere(f"it comes without {what}")
        return found

    def _hidden_files(self) -> dict[str, str]:
        harbor = self.harbor
        parts = [
            harbor.tests,
            harbor.solution,
            *(part for step in harbor.steps for part in (step.tests, step.solution)),
        ]
        found = {
            f"{number}/{name}": file.content.decode("utf-8", "replace")
            for number, part in enumerate(parts)
            for name, file in part.items()
        }
        return found | {f"recover/{mess.name}": mess.recovery for mess in harbor.messes}

    def _visible(self) -> Files:
        return {**self.harbor.environment, **{k: f for step in self.harbor.steps for k, f in step.workdir.items()}}

    def _hidden_names(self) -> set[str]:
        parts = [self.harbor.tests, self.harbor.solution, *(step.tests for step in self.harbor.steps)]
        names = {name.rpartition("/")[2] for part in parts for name in part}
        return names - {name.rpartition("/")[2] for name in self._visible()} - _COMMON

    def _hidden_lines(self) -> list[str]:
        """The longest lines of each hidden file that the agent is not shown anyway."""
        shown = "\n".join(file.content.decode("utf-8", "replace") for file in self._visible().values())
        shown += self.harbor.model_dump_json(include={"instruction": True, "steps": {"__all__": {"instruction"}}})
        shown += "".join(mess.model_dump_json(exclude={"recovery"}) for mess in self.harbor.messes)
        found: list[str] = []
        for text in self._hidden_files().values():
            lines = {line.strip() for line in text.splitlines() if len(line.strip()) >= _SHORTEST}
            own = [line for line in lines if line not in shown and json.dumps(line)[1:-1] not in shown]
            found += sorted(own, key=lambda line: (-len(line), line))[:_LINES]
        return sorted(set(found))

    @staticmethod
    def _wins(verdict: Verdict, what: str) -> str:
        if not verdict.passed or verdict.score != 1:
            raise _Failed(f"{what} scores {verdict.score:g}: {verdict.detail}")
        return verdict.detail

    @staticmethod
    def _loses(verdict: Verdict, what: str) -> str:
        if verdict.passed or verdict.score != 0:
            raise _Failed(f"{what} scores {verdict.score:g}: {verdict.detail}")
        return verdict.detail
