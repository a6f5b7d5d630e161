"""Hidden tests: what they can do although the code they test lives elsewhere, and how their outcomes count."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from judging import TEST, assert_all_pass, judged, test_of, work
from naive import pytest_files
from pydantic import ValidationError

from agentdistill.errors import VerifierError
from agentdistill.sandbox.base import Sandbox
from agentdistill.verification import HiddenTests
from agentdistill.verification.tests import find_tests

test_of.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["values", "objects"])
def test_values_cross_as_they_are_and_objects_are_worked_with_from_afar(fresh: Sandbox, name: str) -> None:
    assert_all_pass(judged(fresh, work(name), test_of(name)))


def test_packages_programs_helpers_and_files_beside_the_tests(fresh: Sandbox) -> None:
    files = {
        "src/shop/__init__.py": "from .prices import price\n__all__ = ['price']\nhidden = 1",
        "src/shop/prices.py": "def price(): return 3",
        "src/queue.py": "def here(): return 'ours'",
        "cli.py": "import sys, shop\nprint(shop.price() + int(sys.argv[1]))",
        "data.txt": "in the workspace",
    }
    beside = {
        "helpers/more.py": b"from shop import price\ndef expected(): return price()",
        "data.txt": b"beside the tests",
    }
    run = judged(fresh, files, test_of("program"), beside, modules=("shop", "queue"), roots=("src",))
    assert len(run.outcomes) == 6
    assert_all_pass(run)


def test_pytest_runs_tests_written_for_it_whatever_the_workspace_says_to_it(fresh: Sandbox) -> None:
    fresh.write_file("pytest.ini", b"[pytest]\naddopts = --collect-only")
    fresh.write_file("conftest.py", b"def pytest_collection_modifyitems(items): items.clear()")
    fixture = b"import pytest\n@pytest.fixture\ndef doubled(): return lambda n: n * 2"
    beside = {**pytest_files(), "conftest.py": fixture, "data.txt": b"5"}
    run = judged(fresh, work("objects"), test_of("pytest"), beside, framework="pytest")
    assert {test.partition("::")[2]: outcome for test, outcome in run.outcomes.items() if outcome != "passed"} == {
        "test_one_of_several_fails": "failed",
        "test_fails": "failed",
        "test_skips": "skipped",
        "test_is_known": "xfailed",
        "test_is_better_than_known": "xfailed",
    }
    assert run.passed == 5


def test_only_a_test_that_ran_and_passed_has_passed(fresh: Sandbox) -> None:
    test = test_of("outcomes")
    required = [*find_tests({TEST: test.encode()}), f"{TEST}::gone", f"{TEST}::ShopTest::gone"]
    run = judged(fresh, "", test, required=required, seconds=3)
    assert {name.removeprefix(f"{TEST}::"): outcome for name, outcome in run.outcomes.items()} == {
        "ShopTest::test_passes": "passed",
        "ShopTest::test_fails": "failed",
        "ShopTest::test_in_part": "failed",
        "ShopTest::test_skips": "skipped",
        "ShopTest::test_is_known": "xfailed",
        "ShopTest::test_is_better_than_known": "xfailed",
        "ShopTest::test_exits": "failed",
        "ShopTest::test_dies": "error",
        "ShopTest::test_takes_long": "timeout",
        "ShopTest::test_never_waits": "error",
        "TestFixtures::test_needs_one": "error",
        "test_yields": "error",
        "test_waits": "error",
        "test_skips_too": "skipped",
        "gone": "missing",
        "ShopTest::gone": "missing",
    }
    verdict = run.verdict()
    assert (verdict.passed, verdict.score) == (False, 0.0)
    assert verdict.detail.startswith(f"1 of 16 hidden tests passed; {TEST}::ShopTest::test_fails: failed")


@pytest.mark.slow
def test_more_tests_than_one_command_has_time_for_are_run_by_several(fresh: Sandbox) -> None:
    slow = "import time, shop\n" + "\n".join(f"def test_{n}(): time.sleep(2); assert shop.five == 5" for n in range(10))
    assert_all_pass(judged(fresh, "five = 5", slow, seconds=5))
    run = judged(fresh, "", "\n".join(f"def test_{n}(): assert {n}" for n in range(450)))
    assert [name for name, outcome in run.outcomes.items() if outcome != "passed"] == [f"{TEST}::test_0"]


def test_tests_are_found_without_running_anything() -> None:
    text = b"""
raise SystemExit
import unittest
from base import BaseTestCase
def test_function(): pass
async def test_later(): pass
def helper_test(): pass
class Common(BaseTestCase):
    def test_shared(self): pass
class MoreTest(Common):
    def test_own(self): pass
    def check(self): pass
class TestPlain:
    def test_method(self): pass
class Helper:
    def test_not(self): pass
class Inner(unittest.IsolatedAsyncioTestCase):
    async def test_wait(self): pass
"""
    assert find_tests({"a/test_x.py": text, "helper.py": text, "y_test.py": b"def test_y(): pass"}) == [
        "a/test_x.py::test_function",
        "a/test_x.py::test_later",
        "a/test_x.py::Common::test_shared",
        "a/test_x.py::MoreTest::test_shared",
        "a/test_x.py::MoreTest::test_own",
        "a/test_x.py::TestPlain::test_method",
        "a/test_x.py::Inner::test_wait",
        "y_test.py::test_y",
    ]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"files": {}}, "no tests"),
        ({"files": {"helper.py": b"def test_x(): pass"}}, "no tests"),
        ({"files": {"test_x.py": b"def"}}, "not Python"),
        ({"modules": ()}, "modules"),
        ({"seconds": 100}, "seconds"),
        ({"frame": "own"}, "frame"),
    ],
)
def test_tests_that_could_never_say_anything_are_refused(settings: Mapping[str, object], complaint: str) -> None:
    good = {"files": {"test_x.py": b"def test_x(): pass"}, "modules": ("x",)}
    assert HiddenTests.model_validate(good).ids == ("test_x.py::test_x",)
    with pytest.raises(ValidationError, match=complaint):
        HiddenTests.model_validate({**good, **settings})


def test_a_runner_that_cannot_start_is_a_verifier_that_broke(fresh: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(fresh), "python", "/no/such/python")
    with pytest.raises(VerifierError, match="did not start: exit 127"):
        judged(fresh, "", "def test_x(): pass")
