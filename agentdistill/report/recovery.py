"""The recovery benchmark as text: what a policy came to behind messes, by kinds of tasks, of which benchmark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from agentdistill.errors import printable
from agentdistill.messes import TaskSet
from agentdistill.report.text import bar_of
from agentdistill.results import ArmResult, MessReport

_KINDS = ("family", "difficulty", "split")
_ONE_BY_ONE = ("mess",)


def render_recovery(report: MessReport, one_by_one: bool = False) -> RenderableType:
    """The rate with its interval, the same by family, difficulty and split, and what has to be known to compare it.

    Args:
        report: what there is to show.
        one_by_one: show each mess as well.
    """
    table = Table(title=Text(f"recovery from messes: {benchmark_of(report)}"), title_justify="left")
    table.add_column("", style="bold", no_wrap=True)
    table.add_column("messes", justify="right")
    table.add_column("recovery")
    for name in ("steps", "tokens read", "tokens written", "errored"):
        table.add_column(name, justify="right")
    _add(table, report.arms, report.tries)
    for kind in (*_KINDS, *(_ONE_BY_ONE if one_by_one else ())):
        if len(report.groups.get(kind, {})) > 1:
            table.add_section()
            _add(table, report.groups[kind], report.tries)
    return Group(table, *map(Text, _notes(report)))


def benchmark_of(report: MessReport) -> str:
    """What to quote beside a number: the set with its version and digest, and how it was run."""
    version = f" {report.version}" if report.version else ""
    changed = ", CHANGED" if report.pinned not in ("", report.digest) else ""
    return (
        f"{report.benchmark}{version} ({report.digest[:12]}{changed}), {report.messes} messes of {report.tasks} tasks, "
        f"{report.tries} {'try' if report.tries == 1 else 'tries'}, {report.step_limit} steps"
    )


def listed(found: TaskSet) -> dict[str, str]:
    """What there is to climb out of: which set, its digest, how many messes."""
    folders = {start.folder for start in found.starts}
    families = Counter(start.place["family"] for start in found.starts)
    state = {"": "not pinned", found.digest: "as pinned"}.get(found.pinned, f"CHANGED, pinned is {found.pinned}")
    return {
        "benchmark": f"{found.name} {found.version}".strip(),
        "digest": found.digest,
        "state": state,
        "tasks": str(len(folders)),
        "messes": str(len(found.starts)),
        "families": ", ".join(f"{name} {count}" for name, count in sorted(families.items())),
    }


def _add(table: Table, results: Mapping[str, ArmResult], tries: int) -> None:
    for name, result in results.items():
        judged = max(1, result.recovery.n)
        table.add_row(
            Text(printable(name)),
            f"{len(result.climbs) // tries}",
            bar_of(result.recovery) if result.recovery.n else "nothing judged",
            f"{result.steps:.1f}",
            f"{result.student_input_tokens / judged:,.0f}",
            f"{result.student_tokens / judged:,.0f}",
            f"{result.errored}",
        )


def _notes(report: MessReport) -> list[str]:
    (name,) = report.arms
    result = report.arms[name]
    notes = [
        f"{name}: {result.recovery.n} episodes judged; steps and tokens are per episode, its own turns only",
        "95 % Wilson intervals, widened as far as messes of one task and tries at one mess came out alike",
        f"tasks {report.digest}; starts {report.starts[:12]}",
        f"{report.environment} on {report.sandbox}, seed {report.seed}",
    ]
    if report.pinned not in ("", report.digest):
        notes.append(
            f"CHANGED: {report.benchmark} {report.version} has the digest {report.pinned[:12]}: this is no result of it"
        )
    if report.privileged:
        notes.append("this policy reads the live environment: a baseline, and no result of a model")
    if result.errored:
        notes.append(
            f"{result.errored} episodes ended in an infrastructure error and are in no rate; the same command retries"
        )
    return notes
