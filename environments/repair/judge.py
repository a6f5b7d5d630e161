"""Talking to the two scripts that run inside a sandbox, and judging what comes out of it.

Nothing that comes out of a sandbox is trusted beyond its form: it may have been written by the agent's code. That does
not help the agent, because the expected values never go in.
"""

from __future__ import annotations

import ast
import functools
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agentdistill.errors import SandboxError, VerifierError
from agentdistill.records import Verdict
from agentdistill.sandbox import ExecResult, Sandbox, SandboxBackend

from .tasks import Package

_TEST_SECONDS, _JUDGE_SECONDS = 5.0, 15.0
_LONGEST_LINE, _LONGEST_ANSWER = 160, 401


@dataclass(frozen=True)
class TestReport:
    """What the visible tests said; `problem` if they could not say anything."""

    __test__ = False

    passed: int
    failed: int
    line: str = ""
    problem: str = ""
    timed_out: bool = False


def run_visible_tests(sandbox: Sandbox) -> TestReport:
    """Run the visible tests on the package as the agent has it.

    Raises:
        SandboxLostError: the sandbox is gone.
    """
    result, mark = _run(sandbox, "run_tests.py", [], _TEST_SECONDS)
    if result.timed_out:
        return TestReport(0, 1, problem=f"the tests took longer than {_TEST_SECONDS:g} s", timed_out=True)
    said = re.match(r" (\d{1,3}) (\d{1,3}) (.*)", _last_words(result.output, mark))
    if said is None:
        return TestReport(0, 1, problem="the tests stopped without a result")
    passed, failed = int(said[1]), int(said[2])
    if passed + failed == 0:
        return TestReport(0, 0, problem="there are no tests")
    return TestReport(passed, failed, said[3][:_LONGEST_LINE])


def judge(package: Package, modules: Mapping[str, bytes], backend: SandboxBackend) -> Verdict:
    """Run the hidden calls on `modules` in a fresh sandbox and compare here with what they must return.

    Raises:
        VerifierError: the judge's script could not run; says nothing about the modules.
    """
    try:
        sandbox = backend.create()
        try:
            for path, content in modules.items():
                sandbox.write_file(path, content)
            # As an argument: the files shown are then the same for every task, and laid only once.
            calls = "\n".join(f"{path}\t{call}" for path, call, _ in package.hidden)
            result, mark = _run(sandbox, "run_calls.py", [calls], _JUDGE_SECONDS)
        finally:
            sandbox.close()
    except SandboxError as error:
        raise VerifierError(f"the judge's sandbox broke: {error}") from error
    if f"{mark} begin" not in result.output:
        raise VerifierError(f"the judge's script did not start: exit {result.exit_code}, {result.output[:200]!r}")
    answers = _last_words(result.output, mark).strip("\n").split("\n")
    if len(answers) != len(package.hidden):
        return Verdict(passed=False, score=0.0, detail="the modules did not let the hidden calls finish")
    for (_, call, expected), answer in zip(package.hidden, answers, strict=True):
        if not _same(answer, expected):
            return Verdict(passed=False, score=0.0, detail=f"hidden: {call} is wrong")
    return Verdict(passed=True, score=1.0, detail=f"{len(answers)} hidden calls right")


def _run(sandbox: Sandbox, script: str, arguments: list[str], seconds: float) -> tuple[ExecResult, str]:
    mark = f"@{secrets.token_hex(8)}"
    python = getattr(sandbox, "python", "python3")
    command = [python, "-I", "-S", "-B", f"/run/files/{script}", mark, *arguments]
    return sandbox.exec(command, timeout=seconds, files={script: _text_of(script)}), mark


@functools.cache
def _text_of(script: str) -> bytes:
    return Path(__file__).with_name(script).read_bytes()


def _last_words(output: str, mark: str) -> str:
    """What stands after the last `mark` at the beginning of a line."""
    _, found, after = output.rpartition(f"\n{mark}")
    return after if found else ""


def _same(answer: str, expected: str) -> bool:
    """Equality as a visible test's ``==`` has it, so that ``2.0`` does for ``2``."""
    if answer == f"={expected}":
        return True
    if not answer.startswith("=") or len(answer) > _LONGEST_ANSWER:
        return False
    try:
        return bool(ast.literal_eval(answer[1:]) == ast.literal_eval(expected))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False
