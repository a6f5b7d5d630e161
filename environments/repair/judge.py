"""The visible tests, run where the agent works, and the hidden calls, run where it has never been.

Nothing that comes out of a sandbox is trusted beyond its form: it may have been written by the agent's code. In the
hidden calls that does not help the agent, because the expected values never go in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agentdistill.errors import SandboxError, VerifierError
from agentdistill.records import Verdict
from agentdistill.sandbox import Sandbox, SandboxBackend
from agentdistill.verification.calls import last_words, run_calls, run_script

from .tasks import Package

_TEST_SECONDS = 5.0
_LONGEST_LINE = 160


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
    result, mark = run_script(sandbox, Path(__file__).with_name("run_tests.py"), [], seconds=_TEST_SECONDS)
    if result.timed_out:
        return TestReport(0, 1, problem=f"the tests took longer than {_TEST_SECONDS:g} s", timed_out=True)
    said = re.match(r" (\d{1,3}) (\d{1,3}) (.*)", last_words(result.output, mark))
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
            return run_calls(sandbox, package.hidden)
        finally:
            sandbox.close()
    except SandboxError as error:
        raise VerifierError(f"the judge's sandbox broke: {error}") from error
