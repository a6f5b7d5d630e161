"""Comparing recipes: fill a grid's cells, and print the table that they make."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from agentdistill.cli.progress import ConsoleWatcher


def compare(
    grid: Annotated[Path, typer.Argument(help="A grid file: which run, recipes, budgets and seeds.")],
    results: Annotated[Path, typer.Option(help="The folder in which each cell is one JSON file.")] = Path("results"),
    folder: Annotated[Path, typer.Option(help="Where the runs are kept.")] = Path("runs"),
    seeds: Annotated[list[int], typer.Option("--seed", help="Of this seed only; may be given again.")] = [],  # noqa: B006
    only: Annotated[list[str], typer.Option("--only", help="This variant only; may be given again.")] = [],  # noqa: B006
) -> None:
    """Compare recipes at equal teacher tokens. What has its file in the results is not run again."""
    from agentdistill.comparison import fill

    with ConsoleWatcher(Console(stderr=True)) as watch:
        fill(grid, results, folder, watch, seeds, only)


def table(
    results: Annotated[Path, typer.Argument(help="The folder of a comparison's results.")],
    budget: Annotated[int | None, typer.Option(help="Of this budget only; by default all, side by side.")] = None,
    against: Annotated[str, typer.Option(help="A variant to which every other is compared, seed by seed.")] = "",
) -> None:
    """Print the table that a comparison's results make, in Markdown."""
    from agentdistill.comparison import read_cells
    from agentdistill.report.comparison import table as render

    typer.echo(render(read_cells(results), budget, against))
