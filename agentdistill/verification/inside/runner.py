"""The judge inside a sandbox: runs hidden tests, each in a process of its own, and says how they went.

It imports nothing of what is judged.

Called with the path of a plan, which is a JSON file. It is read and removed before anything else, so that no copy of it
is left: ``mark`` (the secret of this run: only lines that begin with it are ours), ``tests`` (their ids), ``sources``
(the tests' modules, path → text), ``modules`` (top-level names of what is under test), ``roots`` (where in the
workspace those lie), ``framework`` (``own`` or ``pytest``), ``packages`` (whether installed packages may be imported),
``seconds`` (for one test), ``budget`` (seconds for all), ``laid`` (whether files of the tests lie in ``/run/files``).

Prints ``MARK begin``, for every test ``MARK number [outcome, detail]``, and last ``MARK end``, or ``MARK more`` if the
budget did not do. Without Landlock, files that the code under test could read are refused: ``MARK visible``.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import sys
import time

from . import guards
from .tester import LAID, Tester

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_LONGEST = 120
_MOST = 200
"""Tests in one go, so that all their lines fit into the output that is kept of a command."""
_SCRIPTS = ("values", "exchange", "subject")


def main(path: str) -> None:
    """Run the plan."""
    started = time.monotonic()
    with open(path, encoding="utf-8") as file:
        plan = json.load(file)
    os.unlink(path)
    mark = plan["mark"]
    guards.become_a_judge()
    # All that is needed later is loaded while nothing else runs here.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.remove(os.path.dirname(here))
    if plan["laid"]:
        # Nowhere else: code under test could make files there, where there is no Landlock.
        sys.path.insert(0, LAID)
    scripts = {}
    for name in _SCRIPTS:
        with open(os.path.join(here, name + ".py"), encoding="utf-8") as file:
            scripts[name] = file.read()
    if plan["framework"] == "pytest":
        _load_pytest()
    if plan["laid"] and not guards.can_wall_off():
        return _say(mark, "visible")
    _say(mark, "begin")
    for number, test in enumerate(plan["tests"]):
        left = plan["budget"] - (time.monotonic() - started)
        if number and (number == _MOST or left <= 0):
            return _say(mark, "more")
        outcome, detail = run_apart(plan, scripts, test, min(plan["seconds"], left) if number else plan["seconds"])
        if outcome == "timeout" and number and left < plan["seconds"]:
            return _say(mark, "more")  # it has not had all its time
        if not guards.sweep():
            outcome, detail = "failed", "the code under test left processes that cannot be ended"
        _say(mark, f"{number} {json.dumps([outcome, detail[:_LONGEST]])}")
    return _say(mark, "end")


def run_apart(plan: Mapping[str, Any], scripts: Mapping[str, str], test: str, seconds: float) -> tuple[str, str]:
    """Run a test in a child of this process, for at most so many seconds."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            nowhere = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(nowhere, number)
            os.close(reading)
            os.write(writing, (json.dumps(Tester(plan, scripts).run(test)) + "\n").encode())
        finally:
            os._exit(0)
    os.close(writing)
    try:
        said = _line(reading, time.monotonic() + seconds)
    finally:
        os.close(reading)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    if said is None:
        return "timeout", f"took longer than {seconds:g} s"
    if not said:
        return "error", "the test's process ended without a word"
    outcome, detail = json.loads(said)
    return outcome, detail


def _line(pipe: int, deadline: float) -> bytes | None:
    """One line, or what there was before the end; `None` when the time is up."""
    line = b""
    while not line.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            return None
        piece = os.read(pipe, 1 << 16)
        if not piece:
            return b""
        line += piece
    return line


def _load_pytest() -> None:
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    with contextlib.suppress(ImportError):  # each test will say that it is not there
        importlib.import_module("pytest")


def _say(mark: str, text: str) -> None:
    os.write(1, f"\n{mark} {text}\n".encode())
