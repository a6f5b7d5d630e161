"""Runs in the agent's sandbox: the visible tests, by the real interpreter, reported in one line.

Usage: ``run_tests.py MARK``; its last line is ``MARK passed failed line``, the counts and what the first failure says.
Whoever reads it knows that the code under test ran in this process and may have written it instead. Few imports, since
they would take longer than the tests.
"""

import _signal as signal  # type: ignore[import-not-found]  # `signal` imports half of the library
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CPU_SECONDS = 1.0


class OutOfTime(BaseException):
    """The code under test computes for too long; not an `Exception`, so that it is seldom caught by it."""


def run_file(path: str) -> tuple[int, int, str]:
    """Passed and failed tests of one file, and a line about the first that failed."""
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read()
    names: dict[str, object] = {"__name__": "tests"}
    try:
        timed(lambda: exec(compile(text, path, "exec"), names))
    except BaseException as error:  # noqa: BLE001 - whatever the code under test raises is a result
        return 0, max(1, text.count("\ndef test")), broken_at(error, path)
    tests = [test for name, test in names.items() if name.startswith("test") and callable(test)]
    passed, line = 0, ""
    for test in tests:
        try:
            timed(test)
        except BaseException as error:  # noqa: BLE001 - as above
            line = line or failure(error, path, text, names)
            if isinstance(error, OutOfTime):
                break  # the rest would not fare better, and the whole run has a limit too
        else:
            passed += 1
    return passed, len(tests) - passed, line


def timed(work: "Callable[[], object]") -> object:
    """Run `work` for at most `CPU_SECONDS` of processor time: a busy machine does not change what a test says."""
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS, 0.1)
    try:
        return work()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def out_of_time(*_: object) -> None:
    """Interrupt the code under test."""
    raise OutOfTime


def broken_at(error: BaseException, path: str) -> str:
    """Where code fails to load, such as ``SyntaxError in src/cart.py line 3``."""
    here = os.getcwd() + "/"
    name = type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"{name} in {error.filename.removeprefix(here)} line {error.lineno}"
    places = [(each, line) for each, line in frames(error) if each == path or each.startswith(here)]
    where, line = places[-1] if places else (path, 1)
    return f"{name} in {where.removeprefix(here)} line {line}"


def failure(error: BaseException, path: str, text: str, names: dict[str, object]) -> str:
    """What a failed test says, such as ``charge(2, 3) gave 6, not 7``."""
    lines = text.splitlines()
    line = next((line for each, line in frames(error) if each == path), 0)
    shown = lines[line - 1].strip() if 0 < line <= len(lines) else ""
    call, equals, expected = shown.removeprefix("assert ").rpartition(" == ")
    if not equals or not shown.startswith("assert "):
        return f"{type(error).__name__} in {path} line {line}"
    if isinstance(error, OutOfTime):
        return f"{call} took too long"
    if not isinstance(error, AssertionError):
        return f"{call} raised {type(error).__name__}"
    try:
        value = repr(timed(lambda: eval(call, names)))
    except BaseException:  # noqa: BLE001 - the code under test need not do the same twice
        return f"{call} is not {expected}"
    return f"{call} gave {value[:80]}, not {expected}"


def frames(error: BaseException) -> list[tuple[str, int]]:
    """File and line of every frame the error went through, outermost first."""
    found, trace = [], error.__traceback__
    while trace is not None:
        found.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    return found


def main() -> None:
    """Run every test file; what the tests themselves print is dropped."""
    mark = sys.argv.pop()
    out, nowhere = os.dup(1), os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    signal.signal(signal.SIGPROF, out_of_time)
    sys.path.insert(0, os.getcwd())
    passed, failed, first = 0, 0, ""
    for name in sorted(os.listdir("tests")) if os.path.isdir("tests") else []:
        if not (name.startswith("test_") and name.endswith(".py")):
            continue
        more, fewer, line = run_file(f"tests/{name}")
        passed, failed, first = passed + more, failed + fewer, first or line
    os.write(out, f"\n{mark} {passed} {failed} {' '.join(first.split())}\n".encode(errors="backslashreplace"))
    os._exit(0)  # threads and exit hooks of the code under test have no say


if __name__ == "__main__":
    main()
