"""Commands, and how they end: 0 done, 1 the machinery broke, 2 the input is at fault, 130 interrupted."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from agentdistill.cli import (
    collections,
    comparisons,
    detectors,
    endpoints,
    environments,
    evaluations,
    sandboxes,
    tasks,
    trainings,
)
from agentdistill.cli.progress import ConsoleWatcher
from agentdistill.errors import AgentDistillError, UsageError, printable

INTERRUPTED = 130
WIDTH = 140
"""Columns of what is printed into a pipe or a file, which have no width of their own."""
DEMO = Path(__file__).with_name("demo.toml")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Teach small language-model agents to recover.",
)
app.add_typer(environments.app, name="env", help="List and check environments.")
app.add_typer(endpoints.app, name="endpoint", help="Check what the server of a model can do.")
app.command("detectors")(detectors.compare)
app.command("detector-table")(detectors.show)
app.add_typer(sandboxes.app, name="sandbox", help="Check sandbox backends, and clear away what dead programs left.")

app.add_typer(tasks.app, name="task", help="Begin a task of one's own, and check tasks.")

app.command()(collections.collect)
app.command()(collections.export)
app.command()(comparisons.compare)
app.command()(comparisons.table)
app.command()(evaluations.evaluate)
app.command()(trainings.train)
app.command()(trainings.metrics)
app.add_typer(trainings.data, name="data", help="Look at what is trained on.")

Overrides = Annotated[list[str], typer.Option("--set", help="Override a config key: training.steps=200.")]
Folder = Annotated[Path | None, typer.Option("--folder", help="Where the run is kept; the same again resumes it.")]


@app.command()
def demo(overrides: Overrides = [], folder: Folder = None) -> None:  # noqa: B006 (typer reads the default)
    """Run the whole loop with a tiny student, a scripted teacher and real sandboxes; about a quarter of an hour."""
    _run(DEMO, overrides, folder or Path("runs/demo"))


@app.command()
def run(
    config: Path,
    overrides: Overrides = [],  # noqa: B006
    folder: Folder = None,
    recipes: Annotated[
        list[Path], typer.Option("--recipe", help="A recipe's file, in place of the config's arms; may be given again.")
    ] = [],  # noqa: B006
) -> None:
    """Run the loop of a config file. The same command again goes on where the last one stopped."""
    _run(config, overrides, folder or Path("runs") / config.stem, recipes)


@app.command()
def report(run_folder: Path, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Print what a run came to."""
    from agentdistill.report.recovery import render_recovery
    from agentdistill.report.text import render
    from agentdistill.report.training import train_line
    from agentdistill.results import MessReport, RunReport, read_report

    found = read_report(run_folder)
    if as_json:
        typer.echo(json.dumps(found.model_dump(mode="json")))
    elif isinstance(found, RunReport):
        _out().print(render(found))
    elif isinstance(found, MessReport):
        _out().print(render_recovery(found))
    else:
        typer.echo(train_line(found))


@app.command()
def doctor(
    keys: Annotated[
        list[str], typer.Option("--key", help="A variable whose key a run needs; may be given again.")
    ] = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Look at this machine: Python, torch, sandboxes, disk, keys; say how to mend what is missing."""
    from agentdistill.testing.machine import check_machine

    colours = {"ok": "green", "missing": "yellow", "failed": "red"}
    console = Console(soft_wrap=True, highlight=False)
    findings = []
    for each in check_machine(keys):
        findings.append(each)
        if not as_json:
            mend = f"  → {each.mend}" if each.mend else ""
            console.print(f"[{colours[each.status]}]{each.status:7}[/] {each.name:18} {escape(each.detail + mend)}")
    if as_json:
        typer.echo(json.dumps({"findings": [each.model_dump() for each in findings]}))
    raise typer.Exit(1 if any(each.status == "failed" for each in findings) else 0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console script."""
    try:
        # Outside of its standalone mode typer returns an exit code where it would have exited, Ctrl-C's 130 too.
        code = app(args=list(arguments) if arguments is not None else None, standalone_mode=False)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if code:
            sys.exit(code)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except typer.Abort:
        _stop(INTERRUPTED, "stopped")
    except KeyboardInterrupt:
        _stop(INTERRUPTED, "interrupted: what is finished is kept, and the same command again goes on from there")
    except UsageError as error:
        _stop(2, str(error))
    except AgentDistillError as error:
        _stop(1, str(error))
    except typer.TyperException as error:
        _stop(2, getattr(error, "format_message", error.__str__)())


def _run(config: Path, overrides: Sequence[str], folder: Path, recipes: Sequence[Path] = ()) -> None:
    from agentdistill.config import read_config
    from agentdistill.distillation import distill
    from agentdistill.recipes import read_recipe
    from agentdistill.report.text import render
    from agentdistill.settings import RunConfig

    settings = read_config(config, overrides, RunConfig)
    if recipes:
        settings = settings.model_copy(update={"arms": {path.stem: read_recipe(path) for path in recipes}})
    console = Console(stderr=True)
    with ConsoleWatcher(console) as watch:
        found = distill(settings, folder, watch)
    _out().print(render(found))


def _out() -> Console:
    return Console(width=None if sys.stdout.isatty() else WIDTH)


def _stop(code: int, line: str) -> None:
    print(f"agentdistill: {printable(line)}", file=sys.stderr)
    sys.exit(code)
