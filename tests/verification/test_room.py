"""Attacks on the room itself by code that knows how it works: it finds nothing, and nothing it says passes for more."""

from __future__ import annotations

import pytest
from judging import TEST, WORKS, assert_all_pass, judged, test_of, work

from agentdistill.errors import VerifierError
from agentdistill.sandbox.base import Sandbox
from agentdistill.verification import TestRun, tests

test_of.__test__ = False  # type: ignore[attr-defined]


def test_neither_tests_nor_secrets_nor_the_runner_can_be_found_or_touched(fresh: Sandbox) -> None:
    walls = (WORKS / "peek" / "test_walls.py").read_bytes()
    required = [f"{TEST}::test_nothing_is_found", "test_walls.py::WallTest::test_walls"]
    assert_all_pass(judged(fresh, work("peek"), test_of("peek"), {"test_walls.py": walls}, required=required))


@pytest.fixture
def without_landlock(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on an older kernel."""
    name, scripts = f"{tests._PACKAGE}/guards.py", tests._scripts()
    head = b"def _landlock_version() -> int:\n"
    changed = scripts[name].replace(head, head + b"    return 0\n")
    assert changed != scripts[name]
    monkeypatch.setattr(tests, "_scripts", lambda: {**scripts, name: changed})


@pytest.mark.usefixtures("without_landlock")
def test_without_landlock_tests_stay_hidden_and_whoever_kills_the_runner_has_failed(fresh: Sandbox) -> None:
    assert_all_pass(
        judged(fresh, work("peek").replace('os.walk("/run/files")', 'os.walk("/run/files/tests")'), test_of("peek"))
    )
    kill = """import os, signal
def f():
    for process in filter(str.isdigit, os.listdir("/proc")):
        if process not in ("1", str(os.getpid())):
            os.kill(int(process), signal.SIGKILL)
    return 1
"""
    test = "import shop\ndef test_a(): pass\ndef test_b(): assert shop.f() == 1\ndef test_c(): pass"
    run = judged(fresh, kill, test)
    assert not run.verdict().passed
    assert list(run.outcomes.values()) == ["passed", "missing", "missing"]


@pytest.mark.usefixtures("without_landlock")
def test_without_landlock_files_that_could_be_read_are_refused(fresh: Sandbox) -> None:
    with pytest.raises(VerifierError, match="Landlock"):
        judged(fresh, "", "def test_a(): pass", {"data.txt": b"5"})


def test_processes_left_by_one_test_are_dead_before_the_next(fresh: Sandbox) -> None:
    leave = """import os, time
def everyone():
    return [each for each in os.listdir("/proc") if each.isdigit()]
def leave():
    for _ in range(5):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(60)
            os._exit(0)
    return everyone()
"""
    test = "import shop\ndef test_a(): assert len(shop.leave()) > 5\ndef test_b(): assert len(shop.everyone()) < 5"
    assert_all_pass(judged(fresh, leave, test))


NONSENSE = [
    "os.write(line, b'nonsense that is long enough')",
    "os.write(line, struct.pack('>I', 1 << 31))",
    "say('[]')",
    "say('{}')",
    "say('[' * 100000)",
    'say(\'{"is": {"mine": -1}}\')',
    'say(\'{"is": {"yours": 0}}\')',
    'say(\'{"is": {"mine": 99}}\')',
    'say(\'{"is": {"value": ["os.system", ["true"]]}}\')',
    'say(\'{"is": {"class": "eval"}}\')',
    'say(\'{"is": {"int": "x"}}\')',
    "say('{\"raised\": 5}')",
    'say(\'{"raised": {"class": {"class": "int"}, "args": []}}\')',
    'say(\'{"do": "call", "with": [{"class": "type"}, 5], "named": {}}\'); time.sleep(60)',
    "os.close(line); time.sleep(60)",
    "raise KeyboardInterrupt",
    "raise SystemExit(0)",
    "raise GeneratorExit",
    "raise Exception",
    "raise unittest.SkipTest('no')",
    "raise type('Skipped', (BaseException,), {})",
    "return f()",
    "x = []; x.append(x); return x",
    "return 'x' * (20 << 20)",
    "os.kill(os.getpid(), 11)",
]


@pytest.mark.parametrize("half", [0, 1])
def test_whatever_comes_over_the_line_no_test_passes_by_it(fresh: Sandbox, half: int) -> None:
    attacks = NONSENSE[half::2]
    head = """import os, struct, time, unittest
line = next(int(n) for n in os.listdir('/proc/self/fd') if 'socket' in os.readlink(f'/proc/self/fd/{n}'))
def say(text): os.write(line, struct.pack('>I', len(text)) + text.encode())
"""
    functions = [f"def f{number}():\n    f = f{number}\n    {attack}\n" for number, attack in enumerate(attacks)]
    lines = [f"shop.f{number}() == 1" for number in range(len(attacks))]
    test = "import shop\n" + "".join(f"def test_{n}(): assert {line}\n" for n, line in enumerate(lines))
    caught = "    try: {}\n    except Exception as error: assert type(error) is ZeroDivisionError\n"
    test += "".join(f"def test_caught_{n}():\n{caught.format(line)}" for n, line in enumerate(lines))
    run = judged(fresh, head + "".join(functions), test, seconds=4)
    assert passed(run, attacks * 2) == []


CLAIMS = [
    "assert shop.anything() == 5",
    "assert 5 == shop.anything()",
    "assert not shop.anything() != 5",
    "assert shop.anything() == 'x'",
    "assert shop.anything() is True",
    "assert shop.anything() in (1, 2)",
    "assert shop.anything() in {5}",
    "assert {shop.anything()} == {5}",
    "assert [shop.anything()] == [5]",
    "assert shop.anything() < 5",
    "assert 5 < shop.anything()",
    "assert abs(shop.anything() - 5) < 0.1",
    "assert abs(5 - shop.anything()) < 0.1",
    "assert abs(shop.anything() / 5 - 1) < 0.1",
    "assert math.isclose(shop.anything(), 5)",
    "assert float(shop.anything()) == 5",
    "self.assertAlmostEqual(shop.anything(), 5)",
    "self.assertGreater(shop.anything(), 5)",
    "self.assertEqual(shop.anything(), 5)",
    "self.assertIsNone(shop.anything())",
    "self.assertCountEqual([shop.anything()], [5])",
    "assert shop.number() == 5",
    "assert shop.number() > 5",
    "assert abs(shop.number() - 5) < 0.1",
    "self.assertAlmostEqual(shop.number(), 5)",
    "assert shop.items() == [5]",
    "assert [5] == shop.items()",
    "self.assertListEqual(list(shop.items()), [5])",
    "assert shop.text() == 'x'",
    "assert shop.text().startswith('x')",
]


def test_objects_that_claim_to_be_anything_are_nothing(fresh: Sandbox) -> None:
    test = "import math, unittest, shop\nclass ShopTest(unittest.TestCase):\n"
    test += "".join(f"    def test_{number}(self): {line}\n" for number, line in enumerate(CLAIMS))
    assert passed(judged(fresh, work("claims"), test), CLAIMS) == []


LEADS = [
    "shop.follow(callback, '__globals__')",
    "shop.follow(callback, '__code__.co_consts')",
    "shop.follow(Fake(), '_secret')",
    "shop.follow(Fake().ask, '__func__.__globals__')",
    "shop.follow(generator(), 'gi_frame.f_globals')",
    "shop.follow(Fake(), 'here')",
    "shop.mutate(mock.Mock(), 'assert_called_with')",
    "shop.mutate(callback, '__code__')",
    "shop.raw('get', callback, '__globals__')",
    "shop.raw('get', Fake(), '__dict__')",
    "shop.raw('call', type, 'X', (), {})",
    "shop.raw('call', getattr, callback, '__globals__')",
    "shop.raw('format', callback, '')",
    "shop.raw('plain', callback)",
    "shop.raw('import', 'os')",
    "shop.raw('__import__', 'os')",
    "shop.raw('isinstance', callback, type)",
    "shop.follow(unittest, 'TestCase')",
]


def test_what_a_test_hands_over_leads_no_further(fresh: Sandbox) -> None:
    refused = "    def test_{}(self):\n        with self.assertRaises((TypeError, AttributeError)): {}\n"
    test = test_of("lent") + "".join(refused.format(number, line) for number, line in enumerate(LEADS))
    run = judged(fresh, work("lent"), test)
    assert passed(run, LEADS) == LEADS, run.details


def passed(run: TestRun, lines: list[str]) -> list[str]:
    assert len(run.outcomes) == len(lines)
    return [line for line, outcome in zip(lines, run.outcomes.values(), strict=True) if outcome == "passed"]
