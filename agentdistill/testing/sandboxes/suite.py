"""Running the checks: which there are, what each found, and what a backend says it cannot do."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import ModuleType
from typing import Literal, TypeVar

from agentdistill.errors import AgentDistillError, UnknownNameError, nearest
from agentdistill.records import Record
from agentdistill.sandbox.loading import BackendSpec
from agentdistill.testing.sandboxes.bench import Bench, Declined, Failed, one_line

DEADLINE = 300.0
"""Seconds after which a check that does not end has failed."""

CheckFunction = Callable[[Bench], "str | None"]
Decorated = TypeVar("Decorated", bound=CheckFunction)


class Finding(Record):
    """What one check found about a backend; `detail` is one line."""

    name: str
    status: Literal["passed", "failed", "known_gap"]
    detail: str = ""


def threat(name: str) -> Callable[[Decorated], Decorated]:
    """Say which threat a check is about: a backend that lists it in its `known_gaps` may fail the check."""

    def mark(check: Decorated) -> Decorated:
        check.__dict__["threat"] = name
        return check

    return mark


def checks_of(modules: Sequence[ModuleType]) -> dict[str, CheckFunction]:
    """The checks of some modules, by name: their public functions that take a bench, in the order they stand in."""
    found: dict[str, CheckFunction] = {}
    for module in modules:
        for name, each in vars(module).items():
            if not name.startswith("_") and inspect.isfunction(each) and each.__module__ == module.__name__:
                assert name not in found, name
                found[name] = each
    return found


def title_of(check: CheckFunction) -> str:
    """What a check is about, in one sentence."""
    return (inspect.getdoc(check) or "").split("\n")[0]


def subject_of(check: CheckFunction) -> str:
    """What a check stands under: the name of its module."""
    return check.__module__.rpartition(".")[2]


def choose(checks: dict[str, CheckFunction], only: Sequence[str]) -> dict[str, CheckFunction]:
    """The checks whose name, or the subject they stand under (see `subject_of`), is in `only`; all if empty.

    Raises:
        UnknownNameError: there is no such check or subject; the message has the nearest one.
    """
    subjects = {name: subject_of(check) for name, check in checks.items()}
    known = [*subjects, *dict.fromkeys(subjects.values())]
    for wanted in only:
        if wanted not in known:
            hint = nearest(wanted, known) or f" Subjects: {', '.join(dict.fromkeys(subjects.values()))}"
            raise UnknownNameError(f"there is no sandbox check {wanted!r}.{hint}")
    return {name: check for name, check in checks.items() if not only or name in only or subjects[name] in only}


def run_check(name: str, check: CheckFunction, bench: Bench) -> Finding:
    """What one check finds on the backend of `bench`."""
    return _run(name, check, bench)[1]


def run_checks(spec: BackendSpec, checks: dict[str, CheckFunction]) -> Iterator[Finding]:
    """Run checks on a backend, one after the other, each with a deadline of its own.

    Raises:
        UsageError: there is no such backend, or it has no such option.
        SandboxUnavailableError: it does not work on this machine; the message says why.
    """
    bench = Bench(spec)
    try:
        bench.backend.create().close()
        for name, check in checks.items():
            ended, finding = _run(name, check, bench)
            if not ended:
                bench = Bench(spec)  # what hangs keeps its own; it is not waited for
            yield finding
    finally:
        with suppress(Exception):  # a backend that cannot be closed has failed the checks of that
            bench.close()


def _run(name: str, check: CheckFunction, bench: Bench) -> tuple[bool, Finding]:
    """What a check found, and whether it ended at all."""
    problem: list[BaseException] = []
    detail: list[str] = []

    def work() -> None:
        try:
            detail.append(check(bench) or "")
        except BaseException as error:  # noqa: BLE001 - a crash of somebody's backend is a finding, not our crash
            problem.append(error)
        finally:
            try:
                bench.end_check()
            except BaseException as error:  # noqa: BLE001
                problem.append(error)

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    thread.join(DEADLINE)
    if thread.is_alive():
        problem.append(Failed(f"it did not end within {DEADLINE:g} s"))
    return not thread.is_alive(), _judge(name, check, bench, detail, problem)


def _judge(name: str, check: CheckFunction, bench: Bench, detail: list[str], problem: list[BaseException]) -> Finding:
    gap = _gap(name, check, bench)
    if problem:
        known = isinstance(problem[0], Failed | Declined | AgentDistillError)
        what = one_line(str(problem[0]) if known else problem[0])
        if isinstance(problem[0], Declined):
            return Finding(name=name, status="known_gap", detail=gap or what)
        if gap is not None:
            return Finding(name=name, status="known_gap", detail=f"{gap} ({what})")
        return Finding(name=name, status="failed", detail=what)
    said = detail[0]
    if gap is not None:
        said = f"{said}; it held, although it is listed as a known gap ({gap})".removeprefix("; ")
    return Finding(name=name, status="passed", detail=said)


def _gap(name: str, check: CheckFunction, bench: Bench) -> str | None:
    gaps = bench.backend.capabilities.known_gaps
    keys = (name, name.replace("_", " "), str(check.__dict__.get("threat")))
    return next((gaps[key] for key in keys if key in gaps), None)


def unattacked_gaps(spec: BackendSpec, checks: dict[str, CheckFunction]) -> Iterator[Finding]:
    """The gaps a backend names that no check is about: they are told, too."""
    backend = spec.make()
    try:
        gaps = backend.capabilities.known_gaps
    finally:
        backend.close()
    attacked = {check.__dict__.get("threat") for check in checks.values()}
    attacked |= {*checks, *(name.replace("_", " ") for name in checks)}
    for name, text in gaps.items():
        if name not in attacked:
            yield Finding(name=name, status="known_gap", detail=text)
