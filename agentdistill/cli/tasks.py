"""`agentdistill task`: begin a task of one's own, and check whether tasks are fit to be learnt from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

app = typer.Typer(no_args_is_help=True)

_COLOURS = {"passed": "green", "failed": "red", "not_applicable": "dim"}


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Of the task and of its folder: lost-page.")],
    tasks: Annotated[Path, typer.Option(help="The folder to write it into.")] = Path("tasks/mine"),
) -> None:
    """Write a small complete task to begin one's own from: a bug, hidden tests, a solution, a wrong fix, a mess."""
    from agentdistill.formats.harbor.template import new_task

    place = new_task(name, tasks)
    typer.echo(f"wrote {place}: make it yours, then run: agentdistill task check {place}")


@app.command("check")
def check(
    folder: Annotated[Path, typer.Argument(help="A task folder, or one with task folders below it.")],
    sandbox: Annotated[str, typer.Option(help="Sandbox backend.")] = "bubblewrap",
    options: Annotated[list[str], typer.Option("--option", help="Of the backend: image=debian:12.")] = [],  # noqa: B006
    only: Annotated[list[str], typer.Option(help="Only checks with this in their name.")] = [],  # noqa: B006
    environment: Annotated[str, typer.Option(help="What runs them.")] = "terminal",
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Check tasks: what solution, nothing, wrong fixes, cheats, messes and recoveries score, and that nothing leaks."""
    from agentdistill.errors import TaskError
    from agentdistill.formats.harbor import find_tasks, read_task
    from agentdistill.opening import open_environments
    from agentdistill.sandbox.loading import BackendSpec, read_options
    from agentdistill.testing.tasks import check_task

    folders = find_tasks(folder)
    if not folders:
        raise TaskError(f"there is no task folder, with a task.toml, in {str(folder)!r}")
    for each in folders:
        read_task(each)  # a folder that cannot be read is told before the first is run
    make = open_environments(environment, {"tasks": folder})
    backend = BackendSpec(sandbox, read_options(options)).make()
    found = []
    try:
        for each in folders:
            table = Table("check", "status", "seconds", "detail", title=escape(str(each)), title_justify="left")
            for one in check_task(make, each, backend, only):
                found.append(one)
                status = f"[{_COLOURS[one.status]}]{one.status}[/]"
                table.add_row(one.name, status, f"{one.seconds:.1f}", escape(one.detail))
            if not as_json:
                Console(highlight=False).print(table)
    finally:
        backend.close()
    failed = sum(each.status == "failed" for each in found)
    if as_json:
        typer.echo(json.dumps({"checks": [each.model_dump() for each in found]}))
    else:
        bad = len({each.task for each in found if each.status == "failed"})
        typer.echo(f"tasks: {len(folders)}, not fit: {bad}; checks: {len(found)}, failed: {failed}")
    raise typer.Exit(1 if failed else 0)
