"""Recipes compared at equal teacher tokens: one cell for each recipe, budget and seed, each a small JSON file.

A grid file names a run's config and what is compared in it. All cells of one seed share a run folder, and with it the
base student, the held-out tasks and the bank of frozen states, so that whatever is compared is paired. A cell that has
its file is not run again: the same command goes on, also days later.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentdistill.config import read_config
from agentdistill.distillation import distill, need_scorer
from agentdistill.errors import ConfigError, UnknownNameError, nearest
from agentdistill.recipes import Recipe, read_recipe
from agentdistill.records import Record
from agentdistill.results import ArmResult
from agentdistill.rollout import Watcher
from agentdistill.settings import RunConfig

Budget = Annotated[int, Field(gt=0)]


class Variant(BaseModel):
    """One line of the table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str = ""
    """Its file, seen from the grid's; by default the variant's name in the folder `recipes`."""
    budgets: tuple[Budget, ...] = ()
    """Teacher tokens beyond the base; by default the grid's."""
    set: tuple[str, ...] = ()
    """What is different from the recipe's file: ``takeover.steps=5``."""


class Grid(BaseModel):
    """What is compared, and in which run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    """The run's config, seen from the grid's file."""
    recipes: str = "recipes"
    """The folder of the recipes, seen from the grid's file."""
    set: tuple[str, ...] = ()
    """What is different from the run's config: ``evaluation.seed=2``."""
    seeds: tuple[int, ...] = Field(min_length=1)
    budgets: tuple[Budget, ...] = Field(min_length=1)
    """Teacher tokens beyond the base, for every variant that does not say otherwise."""
    variants: dict[str, Variant] = Field(min_length=1)
    """The lines of the table, by name."""


class Cell(Record):
    """What one recipe came to at one budget and seed, and what made it."""

    grid: str
    variant: str
    reference: str
    environment: str
    seed: int
    budget: int
    commit: str
    bank_digest: str
    result: ArmResult
    refused: dict[str, int]

    @property
    def file_name(self) -> str:
        """Where it is kept, in the grid's folder of results."""
        return f"{self.variant}-{self.budget}-{self.seed}.json"


def read_grid(path: Path) -> Grid:
    """The grid of a TOML file.

    Raises:
        ConfigError: the file, or one it names, is wrong.
    """
    grid = read_config(path, (), Grid)
    _run_config(grid, path, grid.seeds[0])
    for name, variant in grid.variants.items():
        _recipe(grid, path, name, variant)
    return grid


def fill(
    path: Path, results: Path, folder: Path, watch: Watcher, seeds: Sequence[int] = (), only: Sequence[str] = ()
) -> None:
    """Run every cell of the grid that has no file in `results` yet; runs are kept in `folder`.

    Args:
        path: the grid's file.
        seeds: of these seeds only, so that several processes can share a grid.
        only: of these variants only.

    Raises:
        UsageError: the grid, a recipe or a folder is at fault.
        InfrastructureError: the machinery broke beyond its retries.
    """
    grid = read_grid(path)
    for name in only:
        if name not in grid.variants:
            raise UnknownNameError(f"there is no variant {name!r} in {path}.{nearest(name, grid.variants)}")
    missing = [
        (seed, name, budget, file)
        for seed in seeds or grid.seeds
        for name, variant in grid.variants.items()
        if not only or name in only
        for budget in variant.budgets or grid.budgets
        if not (file := results / f"{name}-{budget}-{seed}.json").exists()
    ]
    recipes = {name: _recipe(grid, path, name, grid.variants[name]) for _, name, _, _ in missing}
    # Hours may pass until its turn comes: what the last variant lacks is told before the first one runs.
    need_scorer(_run_config(grid, path, grid.seeds[0]).model_copy(update={"arms": recipes}))
    results.mkdir(parents=True, exist_ok=True)
    commit = _commit()
    for seed, name, budget, file in missing:
        if file.exists():  # by now: another process fills the same grid
            continue
        config, recipe = _run_config(grid, path, seed), recipes[name]
        arm = f"{name}@{budget}"
        settings = config.model_copy(update={"arms": {arm: recipe}, "budget_tokens": budget})
        report = distill(settings, folder / f"{path.stem}-{seed}", watch)
        cell = Cell(
            grid=path.stem,
            variant=name,
            reference=recipe.reference,
            environment=config.environment,
            seed=seed,
            budget=budget,
            commit=commit,
            bank_digest=report.bank_digest,
            result=report.arms[arm],
            refused=report.refused.get(arm, {}),
        )
        partial = file.with_suffix(".partial")
        partial.write_text(cell.model_dump_json(indent=1) + "\n")
        partial.replace(file)


def read_cells(results: Path) -> Iterator[Cell]:
    """The cells that are there, in the order of their names.

    Raises:
        ConfigError: a file is no cell.
    """
    for file in sorted(results.glob("*.json")):
        try:
            cell = Cell.model_validate_json(file.read_text())
        except ValidationError as error:
            raise ConfigError(f"{file} is no result of a comparison: {error.errors()[0]['msg'].lower()}") from error
        if cell.file_name != file.name:
            raise ConfigError(f"{file} holds the result that belongs into {cell.file_name}")
        yield cell


def _run_config(grid: Grid, path: Path, seed: int) -> RunConfig:
    return read_config(path.parent / grid.run, (*grid.set, f"seed={seed}"), RunConfig)


def _recipe(grid: Grid, path: Path, name: str, variant: Variant) -> Recipe:
    return read_recipe(path.parent / (variant.recipe or f"{grid.recipes}/{name}.toml"), variant.set)


def _commit() -> str:
    """The commit that this code is at, with a mark where files differ from it; empty outside of a checkout."""

    def git(*arguments: str) -> str:
        here = Path(__file__).parent
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", "../environments")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except FileNotFoundError:
        return ""
