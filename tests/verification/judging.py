"""What the tests of hidden tests share: works with the tests that judge them, in folders beside this file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from agentdistill.sandbox.base import Sandbox
from agentdistill.verification import HiddenTests, TestRun, run_tests
from agentdistill.verification.tests import find_tests

WORKS = Path(__file__).parent / "works"
TEST = "test_shop.py"


def work(name: str) -> str:
    """The module `shop` of a work."""
    return (WORKS / name / "shop.py").read_text()


def test_of(name: str) -> str:
    """The tests that judge it."""
    return (WORKS / name / TEST).read_text()


def judged(
    fresh: Sandbox,
    work: str | Mapping[str, str],
    test: str,
    files: Mapping[str, bytes] | None = None,
    **settings: object,
) -> TestRun:
    """How the tests of one module go on the module `shop`, or on files."""
    for name, text in ({"shop.py": work} if isinstance(work, str) else work).items():
        fresh.write_file(name, text.encode())
    usual = {"modules": ("shop",), "packages": False, "seconds": 10.0, "required": find_tests({TEST: test.encode()})}
    every = {TEST: test.encode(), **(files or {})}
    return run_tests(fresh, HiddenTests.model_validate({"files": every, **usual, **settings}))


def assert_all_pass(run: TestRun) -> None:
    """Every test has passed."""
    assert run.verdict().passed, "\n".join(f"{test}: {said}" for test, said in run.details.items())
