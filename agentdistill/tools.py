"""A typed Python function becomes a tool: schema from signature and docstring, arguments validated.

Mark a method with `tool`; `tools_of` collects them. `Tool.call` answers with text for the model whatever
the model sent: a wrong call is an observation, never an exception.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, create_model

from agentdistill.errors import ToolError
from agentdistill.records import OutcomeStatus, ToolSpec

Function = TypeVar("Function", bound=Callable[..., Any])
_MARK = "__agentdistill_tool__"
_SECTION = re.compile(r"^\s*(Args|Arguments|Returns|Raises|Yields|Examples?):\s*$")


def tool(function: Function) -> Function:
    """Mark a method as a tool the model may call.

    Its name is the function's, its description the docstring up to ``Args:``, its parameters the typed
    signature with the descriptions under ``Args:``. It returns a string (or anything `str` makes sense of)
    and raises `ToolError` to tell the model why a call did not work.

    Raises:
        TypeError: if a parameter has no annotation or the function no docstring.
    """
    if not inspect.getdoc(function):
        raise TypeError(f"tool {function.__name__!r} needs a docstring: it is what the model is told")
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        if parameter.annotation is inspect.Parameter.empty:
            raise TypeError(f"tool {function.__name__!r}: parameter {parameter.name!r} needs a type")
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise TypeError(f"tool {function.__name__!r}: {parameter} cannot be written as a JSON argument")
    setattr(function, _MARK, True)
    return function


@dataclass(frozen=True)
class Tool:
    """A marked method, ready to be described to a model and called with what the model sent."""

    spec: ToolSpec
    function: Callable[..., Any]
    arguments: type[BaseModel]

    def call(self, owner: object, arguments: Mapping[str, JsonValue]) -> tuple[OutcomeStatus, str]:
        """Validate `arguments`, call the method on `owner`, and return how it went with the text for the model."""
        try:
            valid = self.arguments.model_validate(dict(arguments))
        except ValidationError as error:
            return "bad_argument", f"error: {self.spec.name}: {_first_problem(error)}"
        values = {name: getattr(valid, name) for name in self.arguments.model_fields}
        try:
            return "ok", str(self.function(owner, **values))
        except ToolError as error:
            return "failed", f"error: {error}"


def tools_of(owner: type) -> dict[str, Tool]:
    """The tools of a class by name, in the order they are written, base classes first."""
    found: dict[str, Tool] = {}
    for base in reversed(owner.__mro__):
        for name, function in vars(base).items():
            if getattr(function, _MARK, False):
                found[name] = _describe(function)
    return found


def _describe(function: Callable[..., Any]) -> Tool:
    description, per_parameter = _read_docstring(inspect.getdoc(function) or "")
    hints = typing.get_type_hints(function)
    fields: dict[str, Any] = {}
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[parameter.name] = (
            hints[parameter.name],
            Field(default, description=per_parameter.get(parameter.name)),
        )
    model = create_model(function.__name__, __config__=ConfigDict(extra="forbid", strict=True), **fields)
    schema = model.model_json_schema()
    schema.pop("title", None)
    for described in schema.get("properties", {}).values():
        described.pop("title", None)
    schema.setdefault("properties", {})
    spec = ToolSpec(name=function.__name__, description=description, parameters=schema)
    return Tool(spec=spec, function=function, arguments=model)


def _read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """Description, and the text of each parameter under ``Args:``."""
    description: list[str] = []
    parameters: dict[str, str] = {}
    section, current = "", ""
    for line in text.splitlines():
        heading = _SECTION.match(line)
        if heading:
            section = heading.group(1)
        elif not section:
            description.append(line.strip())
        elif section.startswith("Arg"):
            entry = re.match(r"^\s+(\w+)(?:\s*\([^)]*\))?:\s*(.*)$", line)
            if entry:
                current = entry.group(1)
                parameters[current] = entry.group(2).strip()
            elif current and line.strip():
                parameters[current] += " " + line.strip()
    return " ".join(" ".join(description).split()), parameters


def _first_problem(error: ValidationError) -> str:
    """One line about the first thing wrong with a call's arguments."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "missing":
        return f"argument {where!r} is missing"
    if problem["type"] == "extra_forbidden":
        return f"there is no argument {where!r}"
    return f"argument {where!r}: {problem['msg'].lower()}"
