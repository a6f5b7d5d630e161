"""`agentdistill sandbox`: whether a sandbox backend keeps its promises, and clearing away what dead programs left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

app = typer.Typer(no_args_is_help=True)

_COLOURS = {"passed": "green", "failed": "red", "known_gap": "yellow"}


@app.command("check")
def check(
    backend: Annotated[str, typer.Argument(help="bubblewrap, docker, an installed name or module:Name")],
    only: Annotated[list[str], typer.Option(help="Only this check, or all of this subject; may be given again.")] = [],  # noqa: B006
    options: Annotated[list[str], typer.Option("--option", help="A setting of the backend: image=debian:12.")] = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Run the conformance and threat suite on a sandbox backend: attempts to get out, to exhaust, to leave things."""
    from agentdistill.sandbox.loading import BackendSpec, read_options
    from agentdistill.testing.sandboxes import CHECKS, check_sandboxes, title_of

    console = Console(soft_wrap=True, highlight=False)
    findings = []
    for finding in check_sandboxes(BackendSpec(backend, read_options(options)), only):
        findings.append(finding)
        if not as_json:
            told = finding.detail
            if finding.status == "failed":
                told = f"{title_of(CHECKS[finding.name])} {told}"
            colour = _COLOURS[finding.status]
            console.print(f"[{colour}]{finding.status:9}[/] {finding.name}  [dim]{escape(told)}[/]")
    counts = {status: sum(each.status == status for each in findings) for status in _COLOURS}
    if as_json:
        typer.echo(json.dumps({"backend": backend, "checks": [each.model_dump() for each in findings]}))
    else:
        console.print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['known_gap']} known gaps")
    raise typer.Exit(1 if counts["failed"] else 0)


@app.command("clean")
def clean(
    folders: Annotated[list[Path] | None, typer.Argument(help="Run folders to look into as well.")] = None,
    host: Annotated[str, typer.Option(help="The Docker engine, as in DOCKER_HOST.")] = "",
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Remove what killed programs left: processes, cgroups, folders, containers, and images that were built for them.

    Nothing that a living program uses is touched, and snapshots in run folders stay.
    """
    from agentdistill.errors import SandboxError
    from agentdistill.sandbox import leftovers

    looked_into = [place for folder in folders or () for place in (folder, folder / "sandbox")]
    removed = leftovers.clean(looked_into)
    problem = ""
    try:
        removed += _clean_engine(host)
    except SandboxError as error:
        problem = f"no Docker engine was looked at: {error}"
    if as_json:
        typer.echo(json.dumps({"removed": removed, "problems": [problem] if problem else []}))
        return
    for line in removed:
        typer.echo(f"removed {line}")
    if not removed:
        typer.echo("nothing was left")
    if problem:
        typer.echo(problem, err=True)


def _clean_engine(host: str) -> list[str]:
    from agentdistill.sandbox.docker.engine import Engine
    from agentdistill.sandbox.docker.leftovers import become_owner, clean

    owner = become_owner()
    try:
        return clean(Engine(host), owner)
    finally:
        owner.leave()
