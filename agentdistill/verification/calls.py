"""Hidden calls: the strongest way to judge code. Only the calls go into the sandbox; what they must return never does.

Whatever comes out may have been written by the code that is judged, and that does not help it: it would have to know
the answers. Not covered: code that works the answers out in another way than the task wanted.
"""

from __future__ import annotations

import ast
import functools
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from agentdistill.errors import VerifierError
from agentdistill.records import Verdict
from agentdistill.sandbox import ExecResult, Sandbox

_SECONDS = 15.0
_LONGEST_ANSWER = 401


class HiddenCall(NamedTuple):
    """A call of one module, and the repr of what it must return (a Python literal)."""

    path: str
    call: str
    expected: str


def run_calls(fresh: Sandbox, calls: Sequence[tuple[str, str, str]], *, seconds: float = _SECONDS) -> Verdict:
    """Make `calls` in a fresh sandbox that holds the modules, and compare here with what they must return.

    All run in one process, each module loaded once. Equality is that of ``==``, so that ``2.0`` does for ``2``.

    Args:
        fresh: where the modules lie, and nothing else has run.
        calls: as `HiddenCall` has them: path, call, expected.
        seconds: for all of them.

    Raises:
        VerifierError: the script that makes the calls could not run; says nothing about the modules.
    """
    # As an argument: the files shown are then the same for every task, and laid only once.
    listing = "\n".join(f"{path}\t{call}" for path, call, _ in calls)
    result, mark = run_script(fresh, Path(__file__).parent / "inside" / "calls.py", [listing], seconds=seconds)
    if f"{mark} begin" not in result.output:
        raise VerifierError(f"the judge's script did not start: exit {result.exit_code}, {result.output[:200]!r}")
    answers = last_words(result.output, mark).strip("\n").split("\n")
    if len(answers) != len(calls):
        return Verdict(passed=False, score=0.0, detail="the modules did not let the hidden calls finish")
    for (_, call, expected), answer in zip(calls, answers, strict=True):
        if not _same(answer, expected):
            return Verdict(passed=False, score=0.0, detail=f"hidden: {call} is wrong")
    return Verdict(passed=True, score=1.0, detail=f"{len(answers)} hidden calls right")


def run_script(sandbox: Sandbox, script: Path, arguments: Sequence[str], *, seconds: float) -> tuple[ExecResult, str]:
    """Run a Python script of ours that is given a mark of this run as its first argument.

    Args:
        sandbox: where.
        script: uses the standard library only; it runs without installed packages.
        arguments: those after the mark.
        seconds: how long it may take.

    Returns:
        How it ended, and the mark.
    """
    mark = f"@{secrets.token_hex(8)}"
    command = [sandbox.python, "-I", "-S", "-B", f"/run/files/{script.name}", mark, *arguments]
    return sandbox.exec(command, timeout=seconds, files={script.name: _content(script)}), mark


def last_words(output: str, mark: str) -> str:
    """What stands after the last `mark` at the beginning of a line."""
    _, found, after = output.rpartition(f"\n{mark}")
    return after if found else ""


@functools.cache
def _content(script: Path) -> bytes:
    return script.read_bytes()


def _same(answer: str, expected: str) -> bool:
    if answer == f"={expected}":
        return True
    if not answer.startswith("=") or len(answer) > _LONGEST_ANSWER:
        return False
    try:
        return bool(ast.literal_eval(answer[1:]) == ast.literal_eval(expected))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False
