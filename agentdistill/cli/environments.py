"""`agentdistill env`: which environments there are, and whether one keeps its promises."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agentdistill.errors import printable

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_environments(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """List the environments that are installed."""
    from agentdistill.loading import known_environments, load_environment

    rows = []
    for name in known_environments():
        made = load_environment(name)()
        purpose = (type(made).__doc__ or "").strip().split("\n")[0]
        rows.append({"id": name, "tools": [spec.name for spec in made.tools], "about": purpose})
        made.close()
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table("id", "tools", "about")
    for row in rows:
        table.add_row(str(row["id"]), ", ".join(row["tools"]), str(row["about"]))
    Console().print(table)


@app.command("check")
def check(
    name: Annotated[str, typer.Argument(help="repair, agentdistill/Repair-v0, module:Class or file.py:Class")],
    as_json: Annotated[bool, typer.Option("--json")] = False,
    sandbox: Annotated[str, typer.Option(help="Sandbox backend, for an environment that uses one.")] = "bubblewrap",
    options: Annotated[list[str] | None, typer.Option("--option", help="Of the backend: image=debian:12.")] = None,
) -> None:
    """Check an environment: Gymnasium's rules, determinism, snapshots, bad calls, teacher, doing nothing."""
    from agentdistill.loading import load_environment
    from agentdistill.sandbox.loading import BackendSpec, read_options
    from agentdistill.testing import check_environment

    checks = check_environment(load_environment(name), BackendSpec(sandbox, read_options(options or [])))
    failed = [each for each in checks if each.status == "failed"]
    if as_json:
        typer.echo(json.dumps({"checks": [each.model_dump() for each in checks]}))
    else:
        table = Table("check", "status", "detail")
        colours = {"passed": "green", "failed": "red", "not_applicable": "dim"}
        for each in checks:
            table.add_row(each.name, f"[{colours[each.status]}]{each.status}[/]", escape(printable(each.detail)))
        Console().print(table)
    raise typer.Exit(1 if failed else 0)
