"""Config files: TOML plus dotted overrides, always merged; a wrong key is named with the nearest right one."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from agentdistill.errors import ConfigError, nearest

Model = TypeVar("Model", bound=BaseModel)


def read_config(path: Path, overrides: Sequence[str], model: type[Model]) -> Model:
    """Read a TOML file, apply overrides such as ``training.steps=200``, and validate.

    Raises:
        ConfigError: in one line, which key or value is wrong and what would be right.
    """
    return validated(path, read_values(path, overrides), model)


def read_values(path: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Read a TOML file and apply overrides; nothing is validated.

    Raises:
        ConfigError: the file cannot be read, or an override is not ``key=value``.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no config file {path}") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as TOML: {error}") from error
    override(values, overrides)
    return values


def override(values: dict[str, Any], overrides: Sequence[str]) -> None:
    """Apply overrides such as ``training.steps=200`` to what was read, in their order.

    Raises:
        ConfigError: one is not ``key=value``, or leads through what is no table.
    """
    for each in overrides:
        _apply(values, each)


def validated(path: Path | None, values: dict[str, Any], model: type[Model]) -> Model:
    """The values that were read from `path`, or come from the command line alone, as a `model`.

    Raises:
        ConfigError: in one line, which key or value is wrong and what would be right.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        where = "" if path is None else f"{path}: "
        raise ConfigError(where + first_problem(error, model)) from error


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise ConfigError(f"--set {override!r}: write it as key.subkey=value")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {override!r}: {parent!r} is a value, not a table")
    try:
        values[last] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        values[last] = text


def first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    """The first thing that is wrong with the settings of a model, in one line, with the nearest right key."""
    problem = error.errors(include_url=False)[0]
    path = [str(part) for part in problem["loc"]]
    where = ".".join(path)
    if problem["type"] == "extra_forbidden":
        return f"there is no key {where!r}.{nearest(path[-1], _keys(model, path[:-1]))}"
    if problem["type"] == "missing":
        return f"the key {where!r} is missing"
    return f"{where}: {problem['msg'].lower()}, not {problem['input']!r}"


def _keys(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    """The keys allowed in the table that `path` leads to; none are known where it leads out of our models."""
    reached: list[Any] = [model]
    for part in path:
        # A union of models is entered by the tag that pydantic puts into the path: the name stays, the model is found.
        inner = [each for each in reached if part in getattr(each, "model_fields", {})]
        if inner:
            reached = [found for each in inner for found in _models(each.model_fields[part].annotation)]
    return [key for each in reached for key in each.model_fields]


def _models(annotation: Any) -> list[Any]:
    """All models that a value so annotated may be or hold."""
    if hasattr(annotation, "model_fields"):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _models(inner)]
