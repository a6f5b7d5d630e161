"""One test, in a process that the code under test never enters: what it imports of that code lives in another process.

Runs `unittest.TestCase` methods and plain test functions as pytest has them (functions and ``Test`` classes, without
fixtures), or hands the test to pytest where the tests are written for it.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import inspect
import os
import socket
import subprocess
import sys
import types
import unittest

from . import guards
from .exchange import Gone
from .remote import RemoteModules, Tests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

LAID = "/run/files/tests"
"""Where the tests' files lie that are not modules; for pytest, all of them."""
HIDDEN = ("/run/files",)
_SUBJECT = """
import sys
line, roots, package, *modules = sys.argv[1:]
sys.modules[package] = type(sys)(package)
sys.modules[package].__path__ = []
for name, text in zip(modules[::2], modules[1::2]):
    name = package + "." + name
    module = sys.modules[name] = type(sys)(name)
    module.__package__ = package
    exec(compile(text, "<" + name + ">", "exec"), module.__dict__)
module.main(int(line), roots.split(":"))
"""


class OwnModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """The tests' own modules, imported from memory: no file holds them while code under test runs."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self._sources = sources

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        base = name.replace(".", "/")
        for file in (base + ".py", base + "/__init__.py"):
            if file in self._sources:
                spec = importlib.machinery.ModuleSpec(name, self, origin=LAID + "/" + file)
                spec.has_location = True
                if file.endswith("/__init__.py"):
                    spec.submodule_search_locations = [LAID + "/" + base]
                return spec
        if any(file.startswith(base + "/") for file in self._sources):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """See `importlib.abc.Loader`."""

    def exec_module(self, module: types.ModuleType) -> None:
        """See `importlib.abc.Loader`."""
        text = self.get_source(module.__name__)
        if text is not None:
            # Never without assertions, whatever flags this interpreter was started with.
            exec(compile(text, str(module.__file__), "exec", optimize=0), module.__dict__)

    def get_source(self, name: str) -> str | None:
        """For tracebacks."""
        base = name.replace(".", "/")
        return self._sources.get(base + ".py", self._sources.get(base + "/__init__.py"))


class Tester:
    """Runs one test of a plan; see `runner.py` for the plan."""

    def __init__(self, plan: Mapping[str, Any], scripts: Mapping[str, str]) -> None:
        self._plan = plan
        self._scripts = scripts
        self._exchange: Tests | None = None
        self._own = {name.partition("/")[0].removesuffix(".py") for name in plan["sources"]}

    def run(self, test: str) -> tuple[str, str]:
        """Run the test with this id, such as ``test_cart.py::CartTest::test_total``, and say how it went."""
        _wall_off_programs()
        remote = RemoteModules(self._plan["modules"], self._connect)
        # pytest reads the tests itself.
        own = [OwnModules(self._plan["sources"])] if self._plan["framework"] == "own" else []
        sys.meta_path[:0] = [remote, *own]
        try:
            outcome = run_with_pytest(test) if self._plan["framework"] == "pytest" else run_here(test)
        except Gone as error:
            return "failed", f"the code under test ended: {error}"
        except unittest.SkipTest:
            return "skipped", ""
        except BaseException as error:  # noqa: BLE001 - a test that ends the process has not passed
            return "failed", describe(error)
        if self._exchange is not None and self._exchange.broken:
            return "failed", f"the code under test ended: {self._exchange.broken}"
        return outcome

    def _connect(self) -> Tests:
        if self._exchange is None:
            ours, theirs = socket.socketpair()
            pid = os.fork()
            if pid == 0:
                self._become_the_subject(theirs)
            theirs.close()
            self._exchange = Tests(ours, lambda module: module.partition(".")[0] in self._own)
        return self._exchange

    def _become_the_subject(self, line: socket.socket) -> None:
        try:
            os.setsid()
            os.set_inheritable(line.fileno(), True)
            guards.wall_off(HIDDEN)
            modules = [part for name in ("values", "exchange", "subject") for part in (name, self._scripts[name])]
            flags = ["-I", "-B"] if self._plan["packages"] else ["-I", "-S", "-B"]
            roots = ":".join(self._plan["roots"])
            command = [sys.executable, *flags, "-c", _SUBJECT, str(line.fileno()), roots, __package__, *modules]
            os.closerange(3, line.fileno())
            os.closerange(line.fileno() + 1, 1024)
            os.execv(sys.executable, command)
        finally:
            os._exit(127)


def run_here(test: str) -> tuple[str, str]:
    """Run a test by our own means."""
    file, *names = test.split("::")
    module = __import__(file.removesuffix(".py").replace("/", "."), fromlist=["*"])
    holder = getattr(module, names[0], None)
    if holder is None:
        return "missing", "there is no such test"
    if len(names) == 2 and isinstance(holder, type) and issubclass(holder, unittest.TestCase):
        return _run_case(holder, names[1])
    for name in ("setup_module", "setUpModule"):
        getattr(module, name, lambda: None)()
    if len(names) == 1:
        return _call(holder)
    getattr(holder, "setup_class", lambda: None)()
    instance = holder()
    method = getattr(instance, names[1], None)
    if method is None:
        return "missing", "there is no such test"
    setup = getattr(instance, "setup_method", None)
    if setup is not None:
        setup(*[method] * len(inspect.signature(setup).parameters))
    return _call(method)


def _call(test: Callable[[], object]) -> tuple[str, str]:
    if inspect.iscoroutinefunction(test) or inspect.isgeneratorfunction(test):
        return "error", "nothing would run what is in it"
    if inspect.signature(test).parameters:
        return "error", "tests with fixtures need pytest"
    test()
    return "passed", ""


def _run_case(case: type[unittest.TestCase], name: str) -> tuple[str, str]:
    method = getattr(case, name, None)
    if method is None:
        return "missing", "there is no such test"
    asynchronous = issubclass(case, unittest.IsolatedAsyncioTestCase)
    if inspect.isgeneratorfunction(method) or (inspect.iscoroutinefunction(method) and not asynchronous):
        return "error", "nothing would run what is in it"
    result = _Result()
    suite = unittest.TestSuite([case(name)])
    suite(result)
    if result.skipped:
        return "skipped", result.skipped[0][1]
    if result.expectedFailures or result.unexpectedSuccesses:
        return "xfailed", ""
    if not result.wasSuccessful():
        return "failed", result.first
    return ("passed", "") if result.testsRun == 1 else ("missing", "nothing ran")


class _Result(unittest.TestResult):
    """Keeps what the first exception said, without its traceback."""

    first = ""

    def _exc_info_to_string(self, error: Any, test: object) -> str:
        self.first = self.first or describe(error[1])
        return self.first


def run_with_pytest(test: str) -> tuple[str, str]:
    """Run a test by pytest, with no plug-ins and no configuration but the tests' own ``conftest.py``."""
    import pytest

    witness = _Witness()
    options = ["-c", os.devnull, "--rootdir", LAID, "--confcutdir", LAID, "--import-mode", "importlib"]
    options += ["-p", "no:cacheprovider", "-p", "no:faulthandler", "-q"]
    code = pytest.main([*options, LAID + "/" + test], plugins=[witness])
    if not witness.reports:
        return "missing", f"pytest ended with {int(code)} and ran nothing"
    worst = max(witness.reports, key=lambda each: ("passed", "xfailed", "skipped", "failed").index(each[0]))
    return worst if worst[0] != "passed" or int(code) == 0 else ("failed", f"pytest ended with {int(code)}")


class _Witness:
    """Notes how every phase of every test went."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, str]] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Called by pytest for set-up, call and tear-down."""
        if hasattr(report, "wasxfail"):
            self.reports.append(("xfailed", ""))
        elif report.when == "call" or report.outcome != "passed":
            said = getattr(getattr(report.longrepr, "reprcrash", None), "message", "")
            self.reports.append((report.outcome, str(said).partition("\n")[0]))

    def pytest_collectreport(self, report: Any) -> None:
        """Called by pytest for each module it has read."""
        if report.outcome != "passed":
            self.reports.append((report.outcome, str(report.longrepr).strip().rpartition("\n")[2]))


def describe(error: BaseException) -> str:
    """The class of an exception and what it says, in one line."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def _wall_off_programs() -> None:
    """Programs that a test starts are code under test as well."""
    start: Any = subprocess.Popen.__init__

    def walled_off(self: object, *arguments: Any, preexec_fn: Callable[[], object] | None = None, **named: Any) -> None:
        def prepare() -> None:
            if preexec_fn is not None:
                preexec_fn()
            guards.wall_off(HIDDEN)

        start(self, *arguments, preexec_fn=prepare, **named)

    subprocess.Popen.__init__ = walled_off  # type: ignore[method-assign]
