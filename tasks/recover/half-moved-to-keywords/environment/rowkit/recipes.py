"""Recipes: lists of steps, in JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rowkit import steps

Recipe = Sequence[Mapping[str, Any]]


class BadRecipe(ValueError):
    """This cannot be run."""


def read_recipe(path: Path | str) -> Recipe:
    """A recipe from a file, checked.

    Raises:
        BadRecipe: it is none.
    """
    try:
        recipe = json.loads(Path(path).read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise BadRecipe(f"{path}: {error}") from error
    if not isinstance(recipe, list):
        raise BadRecipe(f"{path}: a recipe is a list of steps")
    check(recipe)
    return recipe


def check(recipe: Recipe) -> None:
    """See that there are such steps.

    Raises:
        BadRecipe: there is none of that name; the message begins with the number of the step.
    """
    for number, entry in enumerate(recipe, 1):
        name = entry.get("step")
        if name not in steps.names():
            raise BadRecipe(f"step {number} ({name}): there is no such step")


def options_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a recipe says about a step besides its name."""
    return {key: value for key, value in entry.items() if key != "step"}
