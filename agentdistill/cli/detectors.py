"""`agentdistill detectors`: how often each detector finds the divergence of failed runs, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from agentdistill.cli.progress import ConsoleWatcher

if TYPE_CHECKING:
    from agentdistill.accuracy import AccuracyReport
    from agentdistill.divergence import DetectorSpec

TRIES = 3
"""Continuations from one world, of the detectors that try it out: worlds may have luck in them."""


def compare(
    run_folder: Annotated[Path, typer.Argument(help="A run that has its base student.")],
    episodes: Annotated[int, typer.Option(help="Failed runs to look at; they are sampled once and kept.")] = 500,
    only: Annotated[
        list[str] | None,
        typer.Option("--detector", help="A name, a table {name = ..., tries = 2} or file.py:Name; may be given again."),
    ] = None,
    scorer: Annotated[
        Path | None, typer.Option(help="A model of the student's vocabulary that scores in the teacher's place.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the report as JSON to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Run detectors on failed runs of a run's base student, and hold what they find against the truth."""
    from agentdistill.distillation import compare_detectors

    specs = read_specs(only) if only else ready(with_scorer=scorer is not None)
    with ConsoleWatcher(Console(stderr=True)) as watch:
        report = compare_detectors(run_folder, watch, episodes, specs, scorer)
    text = report.model_dump_json(indent=2)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n")
    if as_json:
        typer.echo(text)
    else:
        console = Console(width=140)
        console.print(table_of(report))
        for name, row in report.detectors.items():
            right = row.recoverable_right
            if right is not None:
                console.print(
                    f"{name}: right about {right.n} probed worlds being still recoverable in {right.rate:.1%}; "
                    f"{row.beyond_bound} runs with more than ⌈log2 n⌉ + 1 of them"
                )


def show(reports: Annotated[Path, typer.Argument(help="The folder of the reports that --out wrote.")]) -> None:
    """Print what detectors came to, on one environment or several, as a Markdown table."""
    from agentdistill.report.accuracy import accuracy_table, read_reports

    typer.echo(accuracy_table(read_reports(reports)))


def ready(with_scorer: bool) -> Mapping[str, DetectorSpec]:
    """The detectors that are compared unless others are named; those that score only with somebody who can."""
    tried: dict[str, DetectorSpec] = {
        "last_recoverable": {"name": "last_recoverable", "tries": TRIES},
        "student_value": {"name": "student_value", "tries": TRIES},
        "cost_to_go": {"name": "cost_to_go", "tries": TRIES},
    }
    plain = ["random", "first_tool_error", "lasting_tool_error", "failing_visible_test", "broken_visible_test", "loop"]
    plain += ["no_change", "repeated_or_invalid", "surprise"]
    scored: dict[str, DetectorSpec] = {
        "surprise of the teacher": {"name": "surprise", "under": "teacher"},
        "likelihood_gap": "likelihood_gap",
    }
    return {
        **{name: name for name in plain},
        **(scored if with_scorer else {}),
        "disagreement": "disagreement",
        "disagreement, backwards": {"name": "disagreement", "order": "backwards"},
        "disagreement, bisection": {"name": "disagreement", "order": "bisection"},
        "lasting_disagreement": "lasting_disagreement",
        **tried,
        "progress": "progress",
        "judge": "judge",
    }


def read_specs(texts: list[str]) -> Mapping[str, DetectorSpec]:
    """Names and tables as they are written in a config.

    Raises:
        ConfigError: a table cannot be read.
    """
    import tomllib

    from agentdistill.errors import ConfigError

    specs: dict[str, DetectorSpec] = {}
    for text in texts:
        try:
            specs[text] = tomllib.loads(f"value = {text}")["value"] if text.startswith("{") else text
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"--detector {text!r} cannot be read as a TOML table: {error}") from error
    return specs


def table_of(report: AccuracyReport) -> Table:
    """One row a detector; an oracle is marked by a star."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in report.truth_reasons.items())
    title = (
        f"{report.environment}: {report.failed} failed runs of {report.mean_steps:.1f} steps, of which "
        f"{report.with_divergence} have a divergence by the truth ({reasons}); * reads what only the environment knows"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("detector", style="bold")
    for name in ("exact", "within one", "found", "teacher calls", "teacher tokens", "student tokens", "broken"):
        table.add_column(name, justify="right")
    for name, row in report.detectors.items():
        table.add_row(
            name + (" *" if row.oracle else ""),
            f"{row.exact.rate:.1%}",
            f"{row.within_one.rate:.1%} ({row.within_one.low:.0%} – {row.within_one.high:.0%})",
            f"{row.found.rate:.1%}",
            f"{row.teacher_calls:.1f}",
            f"{row.teacher_tokens:.0f}",
            f"{row.student_tokens:.0f}",
            str(row.broken),
        )
    return table
