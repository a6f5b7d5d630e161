"""`agentdistill sandbox`: whether a sandbox backend keeps its promises, and clearing away what dead programs left."""

from __future__ import annotations

import json
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
