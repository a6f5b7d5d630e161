"""Runs recipes."""

import csv
from pathlib import Path

from rowkit import steps
from rowkit.recipes import Recipe, check, options_of, read_recipe
from rowkit.steps import Rows


def run(recipe: Recipe, rows: Rows) -> Rows:
    """What comes of `rows` by all steps, one after the other.

    Raises:
        BadRecipe: the recipe cannot be run.
    """
    check(recipe)
    for entry in recipe:
        rows = steps.find(entry["step"])(rows, options_of(entry))
    return rows


def run_file(recipe: Path | str, table: Path | str) -> Rows:
    """Run a recipe from a file over a CSV file.

    Raises:
        BadRecipe: the recipe cannot be run.
    """
    with Path(table).open(newline="", encoding="utf-8") as file:
        return run(read_recipe(recipe), list(csv.DictReader(file)))
