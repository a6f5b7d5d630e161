"""The coding environment: tools, state, verdict and truth."""

from __future__ import annotations

import itertools
import posixpath
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import ValidationError

from agentdistill.environment import ToolEnvironment, Truth
from agentdistill.errors import SandboxError, TaskError, ToolError, UsageError, VerifierError
from agentdistill.records import Message, Task, ToolCall, Verdict
from agentdistill.sandbox import Sandbox, SandboxBackend
from agentdistill.tools import tool

from .edits import Done, edits, occurrences
from .judge import judge, run_visible_tests
from .tasks import Package, draw_task, make_tasks
from .teacher import Situation, next_call

_PATH = re.compile(r"[\x20-\x7e]{1,200}")
_SHOWN, _LONGEST, _WIDEST, _SEARCHED, _MATCHES, _LINE = 2000, 80_000, 2000, 100, 6, 120


@dataclass
class Workbench:
    """What changes outside the sandbox.

    Attributes:
        open: the open file.
        edits: what was edited in it since it was opened, for `undo`.
        tests: what they said since the last change.
        submitted: whether the work was handed in.
    """

    open: str = ""
    edits: tuple[Done, ...] = ()
    tests: Literal["unknown", "passed", "failed"] = "unknown"
    submitted: bool = False


class Repair(ToolEnvironment):
    """Repair a small Python package: real files, a real interpreter, hidden calls as the judge.

    The issue points at the wrong lines as a linter does, and says what one call gave and should have given. `open`
    shows a file with its lines numbered, `edit` replaces a text within one of them and `undo` takes that back; names
    differ from task to task.

    What makes a student err here, grown by the dial `gap` from 0 (nothing but too little training) to 1:

    - *What the teacher knows and the student does not*: the module of the issue lives under ``src`` by convention, but
      at gap 0.5 two in five live elsewhere. The student can look (`list`, `search`).
    - *Weakness*: several tokens could be right in place of the wrong one, mostly two at gap 0.5 and three at 1. The
      numbers in the issue and in the tests say which, for who can calculate. There may be a second bug, which the
      issue only points at, and a leftover file to delete.
    - *No way back*, at any gap: `submit` and `delete` cannot be undone, no tool creates a file or a line, and there are
      12 steps.

    Args:
        gap: the dial, in [0, 1]; 0.5 unless given.
        sandboxes: where sandboxes come from; bubblewrap on this machine unless given.
        render_mode: as in Gymnasium.

    Raises:
        UsageError: `gap` is outside [0, 1].
    """

    uses_sandbox: ClassVar[bool] = True
    step_limit: int = 12
    state: Workbench

    def __init__(
        self, *, gap: float = 0.5, sandboxes: SandboxBackend | None = None, render_mode: str | None = None
    ) -> None:
        if not 0 <= gap <= 1:
            raise UsageError(f"gap must lie between 0 and 1, not be {gap}")
        super().__init__(sandboxes=sandboxes, render_mode=render_mode)
        self.gap = gap
        self._package: tuple[Task, Package] | None = None

    # ---- tasks ---------------------------------------------------------------------------------------------------

    def make_task(self, rng: np.random.Generator) -> Task:
        """A training task drawn with `rng`."""
        return draw_task(random.Random(int(rng.integers(1 << 62))), "train", self.gap)

    def make_tasks(self, split: str, count: int, seed: int = 0, first: int = 0) -> _Tasks:
        """`count` tasks of a split (``train`` or ``heldout``), from number `first` on; each depends on its number only.

        Raises:
            UsageError: there is no such split.
        """
        return make_tasks(split, count, seed=seed, first=first, gap=self.gap)

    def combinations(self, task: Task) -> frozenset[str]:
        """The ``module:family`` combinations of a task; the splits share none."""
        return frozenset(Package.model_validate(task.data).combos)

    @property
    def package(self) -> Package:
        """What this episode's task holds.

        Raises:
            TaskError: it is not a task of this environment.
        """
        if self._package is None or self._package[0] is not self.task:
            try:
                self._package = self.task, Package.model_validate(self.task.data)
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                raise TaskError(f"not a repair task: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        return self._package[1]

    def setup(self, task: Task) -> None:
        """Lay out the package with its bugs and visible tests."""
        self.state = Workbench()
        for path, text in self.package.files.items():
            self._sandbox.write_file(path, text.encode())

    # ---- tools ---------------------------------------------------------------------------------------------------

    @tool
    def list(self) -> str:
        """List the files."""
        return "\n".join(self._sandbox.list_files()[:40])

    @tool
    def open(self, path: str) -> str:
        """Open a file and show its lines, numbered.

        Args:
            path: the file, such as src/cart.py
        """
        text = self._read(path)
        self.state.open, self.state.edits = _clean(path), ()
        lines = [f"{number} {line}" for number, line in enumerate(text.rstrip("\n").split("\n"), 1)]
        shown = "\n".join(lines)
        return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "\n(more)"

    @tool
    def search(self, text: str) -> str:
        """Search the modules, their names and what is in them, for a text.

        Args:
            text: what to look for
        """
        if not text:
            raise ToolError("nothing to search for")
        modules = sorted(self._modules().items())
        found = [path for path, _ in modules if text in path]
        for path, content in modules:
            found += [f"{path}: {line.strip()[:_LINE]}" for line in content.splitlines() if text in line]
        return "\n".join(found[:_MATCHES]) or "no match"

    @tool
    def edit(self, line: int, old: str, new: str) -> str:
        """Replace a text in one line of the open file, and show the line as it is then.

        Args:
            line: the line's number
            old: a text that occurs exactly once in this line; empty only if the line is
            new: what to put in its place, without a line break
        """
        lines = self._open_lines()
        if not 1 <= line <= len(lines):
            raise ToolError(f"there is no line {line}")
        if lines[line - 1] and not old:
            raise ToolError(f"line {line} is not empty: say which text to replace")
        times = occurrences(lines[line - 1], old)
        if times != 1:
            what = f"occurs {times} times" if times else "not found"
            raise ToolError(f"text {what} in line {line}\n{_shown(line, lines)}")
        if "\n" in new:
            raise ToolError("a line cannot be split")
        before = lines[line - 1]
        lines[line - 1] = before.replace(old, new, 1)
        if len(lines[line - 1]) > _WIDEST:  # of the line, not the file: however full that is, a line can be put right
            raise ToolError(f"line {line} would be too long")
        self._write_open(lines)
        self.state.edits += (Done(line, before, lines[line - 1]),)
        return _shown(line, lines)

    @tool
    def undo(self) -> str:
        """Take back the last edit made since the file was opened, and show the line as it is then."""
        lines = self._open_lines()
        if not self.state.edits:
            raise ToolError("nothing was edited since the file was opened")
        last = self.state.edits[-1]
        if last.line > len(lines) or lines[last.line - 1] != last.after:
            raise ToolError(f"line {last.line} was changed by something else")
        lines[last.line - 1] = last.before
        self._write_open(lines)
        self.state.edits = self.state.edits[:-1]
        return _shown(last.line, lines)

    @tool
    def delete(self, path: str) -> str:
        """Delete a file; this cannot be undone.

        Args:
            path: the file
        """
        clean = _clean(path)
        try:
            self._sandbox.remove_file(clean)
        except FileNotFoundError:
            raise ToolError(f"no such file: {path}") from None
        except PermissionError:
            raise ToolError(f"cannot delete {path}") from None
        if self.state.open == clean:
            self.state.open, self.state.edits = "", ()
        self.state.tests = "unknown"
        return "deleted"

    @tool
    def test(self) -> str:
        """Run the tests."""
        report = run_visible_tests(self._sandbox)
        self.state.tests = "passed" if report.passed and not report.failed and not report.problem else "failed"
        self.signal(tests_passed=report.passed, tests_failed=report.failed)
        if report.problem:
            if report.timed_out:
                self.signal(timed_out=True)
            raise ToolError(report.problem)
        if not report.failed:
            return f"{report.passed} passed"
        return f"{report.passed} passed, {report.failed} failed\n{report.line}"

    @tool
    def submit(self) -> str:
        """Hand the work in; this ends the episode."""
        self.state.submitted = True
        self.end()
        return "submitted"

    # ---- judging -------------------------------------------------------------------------------------------------

    def verify(self) -> Verdict:
        """Run the hidden calls on the modules in a fresh sandbox; what was not submitted fails.

        Raises:
            VerifierError: the judging itself broke.
        """
        if not self.state.submitted:
            return Verdict(passed=False, score=0.0, detail="nothing was submitted")
        modules: dict[str, bytes] = {}
        try:
            if self.package.leftover and self.package.leftover in self._sandbox.list_files():
                return Verdict(passed=False, score=0.0, detail=f"{self.package.leftover} is still there")
            for path in self.package.solution:
                modules[path] = self._sandbox.read_file(path)
        except (FileNotFoundError, PermissionError):
            return Verdict(passed=False, score=0.0, detail="a module is gone")
        except SandboxError as error:
            raise VerifierError(f"the sandbox broke before its files could be judged: {error}") from error
        if any(len(content) > _LONGEST for content in modules.values()):
            return Verdict(passed=False, score=0.0, detail="a module is too long")
        return judge(self.package, modules, self.backend)

    def truth(self) -> Truth:
        """The fewest steps that still win; an upper bound where a changed text does the same as the solution.

        A module whose number of lines was changed, which only code run by the tests can do, counts as lost.
        """
        return Truth(cost=None if self.state.submitted else self._situation().cost)

    def teach(self, messages: tuple[Message, ...], style: str) -> Message:
        """The turn of a competent agent, `knowing` or `exploring`, from whatever state this is."""
        return next_call(self._situation(), messages, style)

    def equivalent(self, one: Message, other: Message) -> bool:
        """Whether two turns have the same effect here: the same file opened, the same text left, only looked around.

        Two edits of different lines are alike too, if each puts its line right.
        """
        here, there = ([self._effect(call) for call in turn.tool_calls] for turn in (one, other))
        return bool(here) and None not in here and sorted(map(str, here)) == sorted(map(str, there))

    def progress(self) -> float:
        """The share of what was wrong at the start that is right now; below 0 where more is wrong, -1 if it is lost."""
        package, now = self.package, self._situation()
        if now.cost is None:
            return -1.0
        at_start = sum(len(edits(package.files[path], text)) for path, text in package.solution.items())
        wrong = sum(len(edits(now.files[path], package.solution[path])) for path in now.damaged) + now.leftover
        return 1 - wrong / (at_start + bool(package.leftover))

    def reference(self) -> str:
        """The edits that repair the package as it was at the start, in words."""
        told = []
        for path, text in self.package.solution.items():
            changes = [
                f'in line {edit.line} replace "{edit.old}" by "{edit.new}"'
                for edit in edits(self.package.files[path], text)
            ]
            told += [f"Open {path}: {', '.join(changes)}."] if changes else []
        told += [f"Delete {self.package.leftover}."] if self.package.leftover else []
        return " ".join([*told, "Submit."])

    # ---- inside --------------------------------------------------------------------------------------------------

    def _effect(self, call: ToolCall) -> tuple[str, ...] | None:
        """What a call would come to, as words that are equal for equal effects; `None` if it does not go through."""
        said = {name: str(value) for name, value in call.arguments.items()}
        if call.problem:
            return None
        if call.name in ("list", "search", "test"):
            return ("look",)
        if call.name == "submit":
            return ("submit",)
        if call.name in ("open", "delete") and said.get("path"):
            try:
                return (call.name, _clean(said["path"])) if self._read(said["path"]) is not None else None
            except ToolError:
                return None
        if call.name not in ("edit", "undo") or not self.state.open:
            return None
        lines = self._open_lines()
        if call.name == "undo":
            if not self.state.edits:
                return None
            number, after = self.state.edits[-1].line, self.state.edits[-1].before
        else:
            line = said.get("line", "")
            number = int(line) if line.isdecimal() else 0
            if not 1 <= number <= len(lines) or occurrences(lines[number - 1], said.get("old", "")) != 1:
                return None
            after = lines[number - 1].replace(said.get("old", ""), said.get("new", ""), 1)
        goal = self.package.solution.get(self.state.open, "").split("\n")
        if number <= len(goal) and lines[number - 1] != after == goal[number - 1]:
            return ("put a line right",)
        return ("edit", str(number), after)

    @property
    def _sandbox(self) -> Sandbox:
        if self.sandbox is None:
            raise UsageError("call reset() first")
        return self.sandbox

    def _read(self, path: str) -> str:
        try:
            return self._sandbox.read_file(_clean(path)).decode()
        except FileNotFoundError:
            raise ToolError(f"no such file: {path}") from None
        except (PermissionError, UnicodeDecodeError):
            raise ToolError(f"cannot read {path}") from None

    def _open_lines(self) -> _Texts:
        if not self.state.open:
            raise ToolError("no file is open")
        return self._read(self.state.open).split("\n")

    def _write_open(self, lines: Sequence[str]) -> None:
        try:
            content = "\n".join(lines).encode()
        except UnicodeEncodeError:
            raise ToolError("not valid Unicode") from None
        self._sandbox.write_file(self.state.open, content)
        self.state.tests = "unknown"

    def _modules(self) -> dict[str, str]:
        """Every module that can be read as text; more than `_SEARCHED` are there only if code made them."""
        paths = (path for path in self._sandbox.list_files() if path.startswith("src/") and path.endswith(".py"))
        return self._texts(itertools.islice(paths, _SEARCHED))

    def _texts(self, paths: Iterable[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for path in paths:
            try:
                found[path] = self._read(path)
            except ToolError:
                continue
        return found

    def _situation(self) -> Situation:
        package = self.package
        texts = self._texts(package.solution)
        if package.leftover and package.leftover in self._sandbox.list_files():
            texts[package.leftover] = ""
        return Situation(package, texts, self.state.open, self.state.edits, self.state.tests, self.remaining)


_Tasks = list[Task]
_Texts = list[str]
"""Inside the class the name `list` is the tool."""


def _shown(number: int, lines: Sequence[str]) -> str:
    """A line as `open` shows it, cut if it is long."""
    return f"{number} {lines[number - 1][:_LINE]}"


def _clean(path: str) -> str:
    """A path as the sandbox lists it.

    Raises:
        ToolError: no file can have this name.
    """
    if not _PATH.fullmatch(path):
        raise ToolError(f"no such file: {path[:80]!r}")
    return posixpath.normpath(path)
