"""Hidden tests: written as unittest or pytest has them, run where the code they test cannot reach them.

How: our runner is started in a fresh sandbox with the tests in a file that it removes at once. It makes itself opaque
to others of its user, and gives each test a process of its own, which has the test in memory and in which *no code
under test ever runs*: what the test imports of it lives in a second process, and is worked with from afar (values cross
as copies, objects as references; see `inside/remote.py`). So there is no test, no expected value, no secret, no
`assert` and no result where the code under test could look for it, patch it, or end it. The runner says how each test
went, in lines that begin with a secret of this run. A test that is skipped, missing, expected to fail, too slow or in
error has not passed, and only if every required one has passed does the work.

What tests cannot do here: extend a class of the code under test, hand it objects other than plain values, functions,
iterators, files, mocks and objects of their own classes, change a list that it returned and expect that to be noticed,
patch the standard library for it (``mock.patch("cart.time.time")`` works, ``mock.patch("time.time")`` does not), use
``async with`` and ``async for`` on its objects (``await`` works), compare its objects with plain values by their own
``==`` or ``<``. Such a test fails on the right solution too: run that once before you rely on a task.

What is not covered:

- Answers by which a wrong solution passes an honest test: equality of two objects of the code's own classes, and what
  its objects say to ``in``, ``bool``, ``isinstance`` are that code's word. Compare plain values, or use hidden calls.
- What a test hands over can be read, its own objects' public attributes too, and lists and dicts can be changed.
- Without Landlock, code under test can stop and kill the runner. That is a failed verdict, never a passed one. Files of
  the tests other than Python modules, and all tests written for pytest, are refused there, since they could be read.
- A program of another user, or a hole in the kernel.
"""

from __future__ import annotations

import ast
import functools
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeGuard

from pydantic import ConfigDict, Field, model_validator

from agentdistill.errors import SandboxError, VerifierError
from agentdistill.records import Record, Verdict
from agentdistill.sandbox import Sandbox

Outcome = Literal["passed", "failed", "error", "skipped", "xfailed", "timeout", "missing"]
_OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed", "timeout")
_BUDGET = 15.0
_SPARE = 3.0
_SCRIPTS = ("__init__", "runner", "tester", "remote", "exchange", "values", "subject", "guards")
_PACKAGE = "agentdistill_verification"
"""What our scripts are called inside, so that they are not taken for modules under test, nor the other way round."""
_START = f"import sys; sys.path.insert(0, '/run/files'); from {_PACKAGE}.runner import main; main(sys.argv[1])"


class HiddenTests(Record):
    """Tests and what they need to run.

    Attributes:
        files: path → content: the test modules (``test_*.py``, ``*_test.py``), the modules they share, and other files,
            which the tests find beside themselves, by ``__file__``.
        modules: top-level names of the modules under test. Only these are imported from the workspace, also where an
            installed module has the same name.
        required: ids such as ``test_cart.py::CartTest::test_total``; without them, every test that can be found in
            `files`. Those that pytest makes of one function by parameters count together.
        roots: where the modules under test lie, relative to the workspace.
        framework: ``own`` runs unittest's `TestCase` and plain functions; ``pytest`` has them run by pytest, which must
            be installed in the sandbox or lie among `files`.
        packages: whether installed packages can be imported. Without, starting is quicker.
        seconds: for each test.
    """

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    files: dict[str, bytes]
    modules: tuple[str, ...] = Field(min_length=1)
    required: tuple[str, ...] = ()
    roots: tuple[str, ...] = Field((".",), min_length=1)
    framework: Literal["own", "pytest"] = "own"
    packages: bool = True
    seconds: float = Field(10.0, gt=0, le=_BUDGET)

    @model_validator(mode="after")
    def _has_tests(self) -> HiddenTests:
        if not self.ids:
            raise ValueError("there are no tests in these files")
        return self

    @property
    def ids(self) -> tuple[str, ...]:
        """The tests that must pass."""
        return tuple(dict.fromkeys(self.required or find_tests(self.files)))


@dataclass(frozen=True)
class TestRun:
    """How every required test went; `details` has a line for those that did not pass."""

    __test__ = False

    outcomes: Mapping[str, Outcome]
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> int:
        """How many passed."""
        return sum(outcome == "passed" for outcome in self.outcomes.values())

    def verdict(self) -> Verdict:
        """Passed if every test has; the detail names the first that has not."""
        done = f"{self.passed} of {len(self.outcomes)} hidden tests passed"
        wrong = next((test for test, outcome in self.outcomes.items() if outcome != "passed"), None)
        if wrong is None:
            return Verdict(passed=bool(self.outcomes), score=float(bool(self.outcomes)), detail=done)
        detail = f"{done}; {wrong}: {self.outcomes[wrong]} {self.details.get(wrong, '')}".strip()
        return Verdict(passed=False, score=0.0, detail=detail)


def find_tests(files: Mapping[str, bytes]) -> list[str]:
    """The ids of all tests in the test modules among `files`, found without running anything.

    Raises:
        ValueError: a test module is not Python.
    """
    found: list[str] = []
    for path, content in sorted(files.items()):
        name = path.rpartition("/")[2]
        if name.endswith(".py") and (name.startswith("test_") or name.endswith("_test.py")):
            found += [f"{path}::{test}" for test in _tests_in(content)]
    return found


def run_tests(fresh: Sandbox, tests: HiddenTests) -> TestRun:
    """Run hidden tests in a fresh sandbox that holds the work, and in which nothing of it has run yet.

    Raises:
        VerifierError: the runner could not start, or cannot keep the tests hidden here; says nothing about the work.
    """
    outcomes: dict[str, Outcome] = dict.fromkeys(tests.ids, "missing")
    details: dict[str, str] = {}
    left = list(tests.ids)
    while left:
        try:
            done, more = _run_some(fresh, tests, left, first=len(left) == len(outcomes))
        except SandboxError as error:
            raise VerifierError(f"the sandbox of the tests broke: {error}") from error
        for test, (outcome, detail) in zip(left, done, strict=False):
            outcomes[test] = outcome
            if outcome != "passed":
                details[test] = detail
        if len(done) < len(left) and not more:
            details[left[len(done)]] = "the code under test ended the run"
            break
        left = left[len(done) :]
    return TestRun(outcomes, details)


def _run_some(
    fresh: Sandbox, tests: HiddenTests, left: list[str], first: bool
) -> tuple[list[tuple[Outcome, str]], bool]:
    """How the first of the tests that are `left` went, and whether the others are still to be run."""
    mark = f"@{secrets.token_hex(16)}"
    plan = f".plan-{secrets.token_hex(8)}"
    laid = _laid(tests)
    content = {
        "mark": mark,
        "tests": left,
        "sources": {path: text.decode() for path, text in tests.files.items() if path.endswith(".py")},
        "modules": tests.modules,
        "roots": tests.roots,
        "framework": tests.framework,
        "packages": tests.packages,
        "seconds": tests.seconds,
        "budget": _BUDGET,
        "laid": bool(laid),
    }
    try:
        fresh.write_file(plan, json.dumps(content).encode())
    except PermissionError as error:
        return [("error", f"no room for the tests in the workspace: {error}")], False
    flags = ["-I", "-B"] if tests.packages else ["-I", "-S", "-B"]
    result = fresh.exec(
        [fresh.python, *flags, "-c", _START, plan],
        timeout=_BUDGET + _SPARE,
        files={**_scripts(), **laid},
    )
    said = [line[len(mark) + 1 :] for line in result.output.split("\n") if line.startswith(f"{mark} ")]
    if "visible" in said:
        raise VerifierError("this kernel has no Landlock, so these tests could be read: see HiddenTests.files")
    if "begin" not in said and first:
        raise VerifierError(f"the tests' runner did not start: exit {result.exit_code}, {result.output[-200:]!r}")
    return list(_outcomes(said)), "more" in said


def _outcomes(said: list[str]) -> Iterator[tuple[Outcome, str]]:
    for line in said:
        number, _, report = line.partition(" ")
        if number.isdigit():
            outcome, detail = json.loads(report)
            yield (outcome if outcome in _OUTCOMES else "missing"), detail


def _laid(tests: HiddenTests) -> dict[str, bytes]:
    """What must lie on the disk: what pytest reads, and what is no module."""
    on_disk = tests.framework == "pytest"
    return {f"tests/{path}": text for path, text in tests.files.items() if on_disk or not path.endswith(".py")}


@functools.cache
def _scripts() -> Mapping[str, bytes]:
    inside = Path(__file__).with_name("inside")
    return {f"{_PACKAGE}/{name}.py": (inside / f"{name}.py").read_bytes() for name in _SCRIPTS}


def _tests_in(content: bytes) -> Iterator[str]:
    try:
        body = ast.parse(content).body
    except SyntaxError as error:
        raise ValueError(f"a test module is not Python: {error}") from error
    classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
    for node in body:
        if _is_test(node):
            yield node.name
        elif isinstance(node, ast.ClassDef) and (_is_case(node, classes) or node.name.startswith("Test")):
            for inner in _methods(node, classes):
                yield f"{node.name}::{inner}"


def _methods(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> list[str]:
    """The test methods of a class, those of its bases in the same module first."""
    inherited = [name for base in _bases(node) if base in classes for name in _methods(classes[base], classes)]
    own = [inner.name for inner in node.body if _is_test(inner)]
    return list(dict.fromkeys([*inherited, *own]))


def _is_case(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> bool:
    return any(
        base.endswith("TestCase") or (base in classes and _is_case(classes[base], classes)) for base in _bases(node)
    )


def _bases(node: ast.ClassDef) -> Iterator[str]:
    for base in node.bases:
        if isinstance(base, ast.Attribute):
            yield base.attr
        elif isinstance(base, ast.Name):
            yield base.id


def _is_test(node: ast.stmt) -> TypeGuard[ast.FunctionDef | ast.AsyncFunctionDef]:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test")
