"""`agentdistill evaluate`: a student on what a run has held out, or any policy behind the messes of a task set."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from agentdistill.cli.collections import WHO
from agentdistill.cli.progress import ConsoleWatcher

WIDTH = 140
"""Columns of what is printed into a pipe or a file, which have no width of their own."""


def evaluate(
    student: Annotated[str, typer.Argument(help=f"Who is measured: {WHO} With --run, the folder of a model.")] = "",
    run_folder: Annotated[
        Path | None, typer.Option("--run", help="A finished run, for its held-out tasks and frozen states.")
    ] = None,
    tasks: Annotated[
        Path | None, typer.Option("--from-messes", help="A folder of tasks, for recovery from the messes of each.")
    ] = None,
    name: Annotated[str, typer.Option(help="What to call the student in the records.")] = "",
    as_json: Annotated[bool, typer.Option("--json")] = False,
    tries: Annotated[int, typer.Option(min=1, help="Messes: episodes behind each.")] = 1,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Messes: turns behind each; by default the environment's limit.")
    ] = None,
    only: Annotated[
        list[str], typer.Option(help="Messes: of this task's folder only; a pattern; may be given again.")
    ] = [],  # noqa: B006 (typer reads the default)
    split: Annotated[str, typer.Option(help="Messes: of tasks of this split: train, heldout, or all.")] = "all",
    folder: Annotated[
        Path | None, typer.Option(help="Messes: where the run is kept; the same command again resumes it.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Messes: decides all luck.")] = 0,
    budget: Annotated[
        int | None, typer.Option(min=1, help="Messes: tokens that a server's model may read and write, together.")
    ] = None,
    budget_dollars: Annotated[float | None, typer.Option(min=0.0, help="Messes: the same in money.")] = None,
    sampling: Annotated[
        str, typer.Option(help="Messes: how a model of one's own samples: {temperature = 0.6, max_new_tokens = 2048}.")
    ] = "",
    sandbox: Annotated[str, typer.Option(help="Messes: sandbox backend.")] = "bubblewrap",
    options: Annotated[
        list[str], typer.Option("--option", help="Messes: of the backend: image=debian:12; may be given again.")
    ] = [],  # noqa: B006
    environment: Annotated[
        str, typer.Option(help="Messes: what runs the tasks; it takes their folder as `tasks`.")
    ] = "",
    live: Annotated[int, typer.Option(min=1, help="Messes: most episodes in flight.")] = 16,
    one_by_one: Annotated[bool, typer.Option("--each", help="Messes: show each of them.")] = False,
) -> None:
    """Measure a student: on the held-out tasks and frozen states of a run, or behind the messes of a task set.

    With --from-messes and nobody to measure, tell what there is: version, digest, messes.
    """
    from agentdistill.errors import ConfigError

    if (run_folder is None) == (tasks is None):
        raise ConfigError("evaluate on what: give --run RUN for a run's held-out tasks, or --from-messes TASKS")
    if run_folder is not None:
        if not student:
            raise ConfigError("evaluate whom: give the folder of a model")
        _on_run(Path(student), run_folder, name, as_json)
        return
    assert tasks is not None
    if not student:
        _list(tasks, environment, only, split, as_json)
        return
    from pydantic import ValidationError

    from agentdistill.config import first_problem
    from agentdistill.opening import read_actor, read_table
    from agentdistill.recovering import MessConfig, climb_out
    from agentdistill.report.recovery import render_recovery
    from agentdistill.sandbox.loading import read_options

    settings: dict[str, object] = {
        "tasks": tasks,
        "only": tuple(only),
        "split": split,
        "tries": tries,
        "steps": steps,
        "seed": seed,
        "sandbox": sandbox,
        "sandbox_options": read_options(options),
        "live": live,
        "budget": {"tokens": budget, "dollars": budget_dollars},
    }
    if environment:
        settings["environment"] = environment
    if sampling:
        settings["sampling"] = read_table(sampling, "--sampling")
    try:
        config = MessConfig.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(first_problem(error, MessConfig)) from error
    actor = read_actor(student, "evaluate")
    called = name or _name_of(student)
    with ConsoleWatcher(Console(stderr=True)) as watch:
        report = climb_out(actor, called, config, folder or Path("runs") / f"messes-{called}", watch)
    if as_json:
        typer.echo(json.dumps(report.model_dump(mode="json")))
    else:
        _out().print(render_recovery(report, one_by_one))


def _on_run(student: Path, run_folder: Path, name: str, as_json: bool) -> None:
    from agentdistill.distillation import evaluate_student
    from agentdistill.report.text import render_arms

    with ConsoleWatcher(Console(stderr=True)) as watch:
        result = evaluate_student(student, run_folder, name or student.name, watch)
    if as_json:
        typer.echo(json.dumps(result.model_dump(mode="json")))
    else:
        _out().print(render_arms({name or student.name: result}, str(run_folder)))


def _name_of(student: str) -> str:
    """A short name: of ``MODEL@URL`` the model, of a path its last part, of ``module:Name`` the name."""
    told = student.partition("@http")[0] if "@http" in student else student
    if told.startswith("{"):
        return "policy"
    last = told.rstrip("/").rpartition("/")[2].rpartition(":")[2]
    return "".join(each if each.isalnum() or each in "-._" else "-" for each in last) or "policy"


def _list(tasks: Path, environment: str, only: list[str], split: str, as_json: bool) -> None:
    """Say what there is to climb out of; nothing is run, and no model's library is needed."""
    from agentdistill.messes import ENVIRONMENT, read_set
    from agentdistill.opening import open_environments
    from agentdistill.report.recovery import listed

    bare = open_environments(environment or ENVIRONMENT, {"tasks": tasks})()
    try:
        listing = listed(read_set(tasks, bare, only, split))
    finally:
        bare.close()
    if as_json:
        typer.echo(json.dumps(listing))
        return
    for key, value in listing.items():
        typer.echo(f"{key:12} {value}")


def _out() -> Console:
    return Console(width=None if sys.stdout.isatty() else WIDTH)
