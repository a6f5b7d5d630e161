"""All steps, each in a module with those of its kind. What a step is called by: its name, in a recipe."""

import importlib
from collections.abc import Callable
from typing import Any

Rows = list[dict[str, Any]]
_MODULES = {
    "cleaning": ("drop_empty", "fill", "strip"),
    "columns": ("number", "rename"),
    "order": ("sort", "top"),
}


def names() -> list[str]:
    """The names of all steps, sorted."""
    return sorted(name for found in _MODULES.values() for name in found)


def find(name: str) -> Callable[..., Rows]:
    """The step of this name.

    Raises:
        KeyError: there is none.
    """
    for module, found in _MODULES.items():
        if name in found:
            return getattr(importlib.import_module(f"rowkit.steps.{module}"), f"step_{name}")
    raise KeyError(name)
