"""Hidden calls, inside: calls the modules that are judged and reports what they return. It knows no answers.

Usage: ``calls.py MARK CALLS``. Prints ``MARK begin`` before any code of the agent runs, so that a machine that
cannot start an interpreter is told from code that crashes it. ``CALLS`` is text with a path, a tab and a call in each
line; the last lines printed are ``MARK`` and one for each call: ``=`` and the repr of its value, or ``!``. Few imports,
since they would take longer than the calls.
"""

import _signal as signal  # type: ignore[import-not-found]  # `signal` imports half of the library
import os
import sys

CPU_SECONDS = 3.0
LONGEST = 400


class OutOfTime(BaseException):
    """The modules compute for too long."""


def out_of_time(*_: object) -> None:
    """Interrupt the modules."""
    raise OutOfTime


def answer(call: str, names: dict[str, object]) -> str:
    """The repr of what a call returns, or ``!`` if it raises or says too much."""
    try:
        said = repr(eval(call, names))
        return f"={said}" if len(said) <= LONGEST and "\n" not in said else "!"
    except BaseException:  # noqa: BLE001 - whatever the agent's code raises is a wrong answer
        return "!"


def load(path: str) -> dict[str, object]:
    """The names a module defines; none if it cannot be loaded."""
    names: dict[str, object] = {"__name__": "module"}
    try:
        with open(path, "rb") as file:
            exec(compile(file.read(), path, "exec"), names)
    except BaseException:  # noqa: BLE001 - as above
        return {}
    return names


def main() -> None:
    """Load each module once, make its calls, and report."""
    mark, listing = sys.argv[1:]
    del sys.argv[1:]
    os.write(1, f"{mark} begin\n".encode())
    calls = [line.split("\t") for line in listing.splitlines()]
    out, nowhere = os.dup(1), os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    sys.path.insert(0, os.getcwd())
    signal.signal(signal.SIGPROF, out_of_time)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS, 0.1)
    loaded = {path: load(path) for path in dict.fromkeys(path for path, _ in calls)}
    answers = [answer(call, loaded[path]) for path, call in calls]
    os.write(out, "\n".join(["", mark, *answers, ""]).encode(errors="backslashreplace"))
    os._exit(0)


if __name__ == "__main__":
    main()
