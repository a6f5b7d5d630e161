"""Values that a model wrote: read such that they can be stored, whatever was written, and typed by a tool's schema."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from agentdistill.records import ToolSpec

DEEPEST = 64  # JSON readers give up at about 200 levels, and records wrap a call's arguments in some of their own
_SURROGATE = re.compile("[\ud800-\udfff]")
_HUGE = 10**4000  # longer ones cannot be written as text again
_PYTHON = {"True": True, "False": False, "None": None}
_TYPES: dict[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "object": (dict,),
    "array": (list,),
}

Schemas = Mapping[str, Mapping[str, JsonValue]]
"""Tool name → parameter name → the parameter's JSON schema."""


@dataclass(frozen=True)
class Call:
    """A call as it stood in a text, before it has an id; one that cannot be read carries its `problem`."""

    name: str = ""
    arguments: dict[str, JsonValue] = field(default_factory=dict)
    problem: str = ""


def schemas_of(tools: tuple[ToolSpec, ...] | list[ToolSpec]) -> Schemas:
    """The schemas of all parameters of all tools."""
    found: dict[str, Mapping[str, JsonValue]] = {}
    for tool in tools:
        properties = tool.parameters.get("properties")
        found[tool.name] = properties if isinstance(properties, dict) else {}
    return found


def whole(text: str) -> str:
    """Lone surrogates, which JSON can spell but UTF-8 cannot hold, become U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)


def storable(value: object, depth: int = 0) -> JsonValue:
    """What a model said, such that it can be written as JSON and read back: not too deep, finite, no half characters.

    Raises:
        ValueError: it is nested too deep, holds a number that JSON cannot, or is no JSON value at all.
    """
    if depth > DEEPEST:
        raise ValueError("nested too deep")
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, list | tuple):
        return [storable(each, depth + 1) for each in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("a key is not a string")
        return {whole(key): storable(each, depth + 1) for key, each in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is out of range")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= _HUGE:
        raise ValueError("a number is out of range")
    if value is None or isinstance(value, bool | int | float):
        return value
    raise ValueError(f"{type(value).__name__} is not JSON")


def read_json(text: str) -> JsonValue:
    """A JSON text as a value that can be stored.

    Raises:
        ValueError: it is not JSON, or holds what cannot be stored.
        RecursionError: it is nested far too deep.
    """
    return storable(json.loads(text, parse_constant=_refuse_constant, parse_float=_finite))


def call_of(value: JsonValue) -> Call:
    """A call from a JSON value: an object with a name, and arguments that are an object."""
    if not isinstance(value, dict):
        return Call(problem='a tool call is {"name": ..., "arguments": {...}}')
    name = value.get("name", value.get("tool_name"))
    if not isinstance(name, str):
        return Call(problem='a tool call is {"name": ..., "arguments": {...}}')
    return call_with(name, value.get("arguments", value.get("parameters", {})))


def call_with(name: str, arguments: JsonValue) -> Call:
    """A call with these arguments, if they are an object."""
    if not isinstance(arguments, dict):
        return Call(problem="the arguments of a tool call are a JSON object")
    return Call(whole(name), arguments)


def problem_of(error: Exception, what: str = "valid JSON") -> Call:
    """The call that could not be read because of `error`, in one short line."""
    reason = str(error).split(":")[0].split("\n")[0][:80] or "nested too deep"
    return Call(problem=f"the tool call is not {what} ({whole(reason)})")


def typed(text: str, schema: JsonValue) -> JsonValue:
    """A value that was written as bare text, as its schema has it; without a schema, as JSON where it is JSON.

    Raises:
        ValueError: it is JSON that cannot be stored.
    """
    types = _types_of(schema)
    if types == {"string"}:
        return whole(text)
    try:
        value = _PYTHON[text.strip()] if text.strip() in _PYTHON else read_json(text)
    except json.JSONDecodeError:
        return whole(text)
    if types and not any(isinstance(value, _TYPES.get(each, ())) for each in types - {"string"}):
        return whole(text)
    return value


def _types_of(schema: JsonValue) -> set[str]:
    if not isinstance(schema, dict):
        return set()
    declared = schema.get("type")
    types = {declared} if isinstance(declared, str) else set()
    if isinstance(declared, list):
        types |= {each for each in declared if isinstance(each, str)}
    for union in ("anyOf", "oneOf"):
        choices = schema.get(union)
        for choice in choices if isinstance(choices, list) else []:
            types |= _types_of(choice)
    return types


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError("a number is out of range")
    return value


def _refuse_constant(name: str) -> JsonValue:
    raise ValueError(f"{name} is not JSON")
