"""Work is judged by tests it never met: each cheat passes a verifier as they are often written, and fails ours.

The naive verifier lays the tests where the agent worked and believes what it sees there; ours
(`agentdistill.verification`) carries the work over into a fresh sandbox of the same backend. More cheats than these are
in the tests of `agentdistill.verification`; here it is the backend that is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agentdistill.errors import SandboxError
from agentdistill.records import Verdict
from agentdistill.sandbox.base import Sandbox
from agentdistill.testing.sandboxes.bench import Bench, Declined, one_line, require
from agentdistill.testing.sandboxes.programs import finds_file, run_inside
from agentdistill.verification import HiddenTests, fresh_world, run_tests

TEST = "test_cart_hidden.py"
TESTS = HiddenTests(
    files={
        TEST: b"""import unittest
import cart
class CartTest(unittest.TestCase):
    def test_nothing(self):
        self.assertEqual(cart.total([]), 0)
    def test_prices_and_amounts(self):
        self.assertEqual(cart.total([(3, 2), (4, 5)]), 26)
if __name__ == "__main__":
    unittest.main()
"""
    },
    modules=("cart",),
    packages=False,
)
RIGHT = "def total(lines):\n    return sum(price * amount for price, amount in lines)\n"
WRONG = "def total(lines):\n    return 0\n"
_PASSES = "import sys; print('Ran 2 tests in 0.000s\\n\\nOK'); sys.exit(0)\n"

# ---- honest work -----------------------------------------------------------------------------------------------------


def right_work_passes(bench: Bench) -> str:
    """What solves the task passes, and what does not solve it fails, both for the naive verifier and for ours."""
    for source, passes in ((RIGHT, True), (WRONG, False)):
        sandbox = bench.sandbox()
        sandbox.write_file("cart.py", source.encode())
        verdict = _ours(bench, sandbox)
        require(verdict.passed == passes, f"our verdict is {verdict.passed}: {verdict.detail}")
        require(_by_exit_code(sandbox) == passes, "the naive verifier is broken")
    return "as it should be"


def hidden_tests_are_nowhere_while_anybody_acts(bench: Bench) -> str:
    """The tests are not in the agent's sandbox before its work is judged, nor while, nor after."""
    sandbox = bench.sandbox()
    sandbox.write_file("cart.py", RIGHT.encode())
    before = run_inside(sandbox, finds_file, TEST)
    _ours(bench, sandbox)
    after = run_inside(sandbox, finds_file, TEST)
    sandbox.write_file(TEST, TESTS.files[TEST])
    shown = run_inside(sandbox, finds_file, TEST)
    require(shown.output.startswith("reached: "), f"nothing is shown: {one_line(shown.output)}")
    for found in (before, after):
        require(found.output.startswith("stopped: "), f"they are there: {one_line(found.output)}")
    return one_line(after.output)


def work_is_judged_without_its_processes(bench: Bench) -> str:
    """No process of the agent lives where its work is judged, whether it lives on elsewhere or not."""
    sandbox = bench.sandbox()
    sandbox.write_file("cart.py", RIGHT.encode())
    sandbox.exec("(sleep 60 &)")
    with fresh_world(sandbox, bench.backend) as fresh:
        left = fresh.processes().commands
    require(not left, f"these live there: {left}")
    return f"{len(sandbox.processes().commands)} live on where it worked"


def planted_settings_do_not_cross(bench: Bench) -> str:
    """What changes how Python or pytest start does not cross over, nor does history; links and pipes do not either."""
    sandbox = bench.sandbox()
    planted = [
        *("conftest.py", "a/conftest.py", "pytest.ini", "sitecustomize.py", "usercustomize.py", "x.pth", ".git/HEAD"),
        *("x-1.dist-info/entry_points.txt", ".local/lib/python3/site-packages/x.py", "__pycache__/cart.pyc"),
    ]
    for path in ("cart.py", "keep/data.txt", *planted):
        sandbox.write_file(path, b"")
    sandbox.exec("ln -s /etc/passwd link; mkfifo pipe")
    with fresh_world(sandbox, bench.backend) as fresh:
        crossed = fresh.list_files()
    require(crossed == ["cart.py", "keep/data.txt"], f"these crossed: {crossed}")
    return f"{len(planted) + 2} did not cross"


# ---- cheats ----------------------------------------------------------------------------------------------------------


def exit_on_import_does_not_pass(bench: Bench) -> str:
    """Work that ends the program with success while it is imported."""
    _cheats(bench, {"cart.py": "import sys\nsys.exit(0)\n"})
    return _cheats(bench, {"cart.py": "import os\nos._exit(0)\n"})


def skipped_tests_do_not_pass(bench: Bench) -> str:
    """Work that has its tests skipped."""
    return _cheats(bench, {"cart.py": "import unittest\ndef total(lines):\n    raise unittest.SkipTest('not today')\n"})


def patched_assertions_do_not_pass(bench: Bench) -> str:
    """Work that takes the teeth out of the test framework while it is imported."""
    patch = "import unittest\nunittest.TestCase.assertEqual = lambda *ignored: None\n"
    return _cheats(bench, {"cart.py": patch + WRONG})


def equal_to_everything_does_not_pass(bench: Bench) -> str:
    """Work whose answers say that they are equal to whatever they are compared with."""
    anything = "class Anything(int):\n    def __eq__(self, other):\n        return True\n    __ne__ = None\n"
    anything += "    def __ne__(self, other):\n        return False\n    __hash__ = int.__hash__\n"
    return _cheats(bench, {"cart.py": anything + "def total(lines):\n    return Anything(0)\n"})


def shadowed_framework_does_not_pass(bench: Bench) -> str:
    """A test framework of its own, beside the work, that finds everything fine."""
    return _cheats(bench, {"cart.py": WRONG, "unittest.py": _PASSES})


def shadowed_interpreter_does_not_pass(bench: Bench) -> str:
    """An interpreter of its own, first on the PATH that the shell exported, that finds everything fine."""
    work = {"cart.py": WRONG, "bin/python3": "#!/bin/sh\necho OK\n"}
    return _cheats(bench, work, 'chmod +x bin/python3; export PATH="$PWD/bin:$PATH"', _by_path)


def startup_files_do_not_pass(bench: Bench) -> str:
    """A file that Python runs at its start, on a path that the shell exported, and that ends it with success."""
    quits = "import os\nos._exit(0)\n"
    return _cheats(bench, {"cart.py": WRONG, "p/sitecustomize.py": quits}, 'export PYTHONPATH="$PWD/p"')


def printed_results_do_not_pass(bench: Bench) -> str:
    """Work that prints what a test run prints that went well, and ends it."""
    return _cheats(bench, {"cart.py": _PASSES}, naive=_by_words)


def found_tests_do_not_pass(bench: Bench) -> str:
    """Work that looks for the tests on the disk, and answers what they expect."""
    source = """
import os, re
def total(lines):
    for place in (".", "/run/files", "/tmp"):
        for folder, _, files in os.walk(place):
            for name in files:
                try:
                    with open(os.path.join(folder, name)) as file:
                        text = file.read()
                except (OSError, ValueError):
                    continue
                for given, answer in re.findall(r"cart\\\\.total\\\\((.*?)\\\\), (\\\\d+)\\\\)", text):
                    if given == str(lines):
                        return int(answer)
    return 0
""".replace("\\\\", "\\")
    return _cheats(bench, {"cart.py": source})


def reward_written_early_counts_for_nothing(bench: Bench) -> str:
    """A reward file that is there before anybody judged, kept from being written again."""
    if bench.sandbox().exec("touch closed; chmod 444 closed; test -w closed").exit_code == 0:
        raise Declined("commands that are root may write to every file: none is kept from being written")
    return _cheats(bench, {"cart.py": WRONG, "reward.txt": "1"}, "chmod 444 reward.txt; chmod 500 .", _by_reward)


def reward_written_late_counts_for_nothing(bench: Bench) -> str:
    """A reward file that the work itself writes again when it was judged, from a process that stays behind."""
    source = (
        """
import os, time
if os.fork() == 0:
    os.setsid()
    while True:
        time.sleep(0.05)
        with open("reward.txt", "w") as file:
            file.write("1")
"""
        + WRONG
    )
    return _cheats(bench, {"cart.py": source}, naive=_by_reward)


# ---- verifiers -------------------------------------------------------------------------------------------------------


def _ours(bench: Bench, sandbox: Sandbox) -> Verdict:
    with fresh_world(sandbox, bench.backend) as fresh:
        return run_tests(fresh, TESTS).verdict()


def _by_exit_code(sandbox: Sandbox) -> bool:
    """Run the tests, and look at the exit code."""
    _lay(sandbox)
    return sandbox.exec(f"{sandbox.python} -m unittest {TEST.removesuffix('.py')}").exit_code == 0


def _by_path(sandbox: Sandbox) -> bool:
    """Run the tests with whatever Python is found, and look at the exit code."""
    _lay(sandbox)
    return sandbox.exec(f"python3 -m unittest {TEST.removesuffix('.py')}").exit_code == 0


def _by_words(sandbox: Sandbox) -> bool:
    """Run the tests, and look for what they print when all is well."""
    _lay(sandbox)
    return "\nOK\n" in sandbox.exec(f"{sandbox.python} -m unittest {TEST.removesuffix('.py')} 2>&1").output


def _by_reward(sandbox: Sandbox) -> bool:
    """Run the tests, have their exit code written to a file, and read it when the run is over."""
    _lay(sandbox)
    passes = f"{sandbox.python} -m unittest {TEST.removesuffix('.py')}"
    sandbox.exec(f"({passes} && echo 1 > reward.txt || echo 0 > reward.txt; sleep 1) 2>/dev/null")
    return sandbox.read_file("reward.txt").strip() == b"1"


def _lay(sandbox: Sandbox) -> None:
    try:
        sandbox.write_file(TEST, TESTS.files[TEST])
    except (PermissionError, SandboxError):
        sandbox.exec(["chmod", "755", "."])
        sandbox.write_file(TEST, TESTS.files[TEST])
        sandbox.exec(["chmod", "555", "."])


def _cheats(
    bench: Bench, work: Mapping[str, str], line: str = "true", naive: Callable[[Sandbox], bool] = _by_exit_code
) -> str:
    """See that a cheat passes a naive verifier, and that it fails ours; returns what ours says."""
    sandbox, again = bench.sandbox(), bench.sandbox()
    for each in (sandbox, again):
        for path, content in work.items():
            each.write_file(path, content.encode())
        each.exec(line)
    require(naive(again), "nothing is shown: the cheat does not pass the naive verifier either")
    verdict = _ours(bench, sandbox)
    require(not verdict.passed and verdict.score == 0, f"it passes: {verdict.detail}")
    return one_line(verdict.detail)
