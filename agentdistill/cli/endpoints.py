"""`agentdistill endpoint`: what the server of a student or a teacher can do, and what to start it with."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

app = typer.Typer(no_args_is_help=True)

WIDTH = 160
"""Columns of the table where it is printed into a pipe or a file."""
_COLOURS = {"works": "green", "missing": "yellow", "failed": "red"}


@app.callback()
def endpoint() -> None:
    """Check servers of models."""


@app.command("check")
def check(
    url: Annotated[str, typer.Argument(help="Base address: http://localhost:8000/v1")],
    model: Annotated[str, typer.Option(help="As the server calls it; by default the first it lists.")] = "",
    api_key_env: Annotated[str, typer.Option(help="Name of the variable that holds the key.")] = "",
    words: Annotated[int, typer.Option(min=100, help="Length of the long prompt.")] = 6000,
    timeout: Annotated[float, typer.Option(min=1.0, help="Seconds for each question, retries included.")] = 120.0,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Ask a server for tool calls, a long prompt, log-probabilities and token ids; say what mends what is missing."""
    from agentdistill.policies.endpoint import EndpointConfig
    from agentdistill.testing.endpoints import advised_settings, check_endpoint, first_model

    config = EndpointConfig(
        url=url,
        model=model or first_model(url, api_key_env),
        api_key_env=api_key_env,
        deadline=timeout,
        timeout=timeout,
        max_tokens=512,
        temperature=0.0,
    )
    probes = check_endpoint(config, words)
    settings = {"url": url, "model": config.model, **advised_settings(probes)}
    if api_key_env:
        settings["api_key_env"] = api_key_env
    if as_json:
        typer.echo(json.dumps({"probes": [each.model_dump() for each in probes], "settings": settings}))
    else:
        table = Table("asked for", "found", "detail", "what mends it")
        for each in probes:
            found = f"[{_COLOURS[each.status]}]{each.status}[/]"
            table.add_row(each.name, found, escape(each.detail), escape(each.mend))
        Console(width=None if sys.stdout.isatty() else WIDTH).print(table)
        print(
            "settings for this server: " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in settings.items())
        )
    raise typer.Exit(1 if any(each.status == "failed" for each in probes) else 0)
