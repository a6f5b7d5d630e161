"""What is wrong with a table of a task's file, in one line: which key, and what to write there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from agentdistill.errors import nearest

_EXAMPLES = {
    "task.name": 'write name = "org/name"',
    "steps.name": 'write name = "...", the name of its folder below steps/',
    "artifacts.source": 'write source = "/path"',
    "command": 'write command = "..."',
    "name": 'write name = "..."',
    "tpu.type": 'write type = "v6e"',
    "tpu.topology": 'write topology = "2x4"',
    "description": 'write description = "...", one sentence',
    "by": 'write by = "hand", or the name of the policy that did it',
    "actions": 'write [[actions]] with tool = "bash" and arguments = {command = "..."}',
    "actions.tool": 'write tool = "bash"',
}
_MUST_BE = {
    "string_type": "must be text in quotes",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list [...]",
    "dict_type": "must be a table",
    "mapping_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
}
_LOOKS = {"schema_version": "must look like 1.4", "world": "must be the 64 hex digits of a digest"}
_SECRET = re.compile(r"(^|\.)(env|headers)(\.|$)")


def first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    """The first thing that `model` did not accept, as one line that begins with the key: ``steps[0].name is missing``.

    Values that may be secrets (of `env` and `headers`) are not in it.
    """
    problems = error.errors(include_url=False)
    first = problems[0]
    # Of a union every member complains, one after the other and each under a tag of its own.
    together = [each for each in problems if _key(each)[0] == _key(first)[0]]
    key, path = _key(first)
    if first["type"] == "extra_forbidden":
        return f"{key} is not known here: leave it out.{nearest(str(path[-1]), _fields(model, path[:-1]))}"
    if first["type"] == "missing":
        return f"{key} is missing: {_example(path)}"
    told = " or ".join(dict.fromkeys(_must_be(each) for each in together))
    return " ".join(f"{key} {told}{_but(first, key)}".split())


def _key(problem: ErrorDetails) -> tuple[str, list[str | int]]:
    """The key as one would write it, and its parts; tags of unions are none."""
    path = [part for part in problem["loc"] if isinstance(part, int) or re.fullmatch(r"[^\[\]()|, ]+", part)]
    while path and path[-1] in ("str", "int", "float", "constrained-int", "constrained-float", "constrained-str"):
        path.pop()
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text, path


def _must_be(problem: ErrorDetails) -> str:
    kind, given = problem["type"], problem.get("ctx", {})
    if kind in _MUST_BE:
        return _MUST_BE[kind]
    if kind == "literal_error":
        return f"must be {given['expected']}"
    if kind in ("greater_than_equal", "greater_than"):
        return f"must be {given['ge']:g} or more" if "ge" in given else f"must be more than {given['gt']:g}"
    if kind == "string_pattern_mismatch":
        return _LOOKS.get(str(problem["loc"][-1]), "must look like org/name")
    if kind == "value_error":
        return str(given["error"])
    return problem["msg"].lower()


def _but(problem: ErrorDetails, key: str) -> str:
    if problem["type"] == "value_error" or _SECRET.search(key):
        return ""
    return f", not {repr(problem['input'])[:60]}"


def _example(path: Sequence[str | int]) -> str:
    names = [part for part in path if isinstance(part, str)]
    return _EXAMPLES.get(".".join(names[-2:]), _EXAMPLES.get(names[-1], "write it"))


def _fields(model: type[BaseModel], path: Sequence[str | int]) -> Mapping[str, object]:
    """The keys of the table that `path` leads to, where it is a table of `model` or of a list in it."""
    for part in path:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        if field is not None:
            inner = (field.annotation, *getattr(field.annotation, "__args__", ()))
            model = next((each for each in inner if isinstance(each, type) and issubclass(each, BaseModel)), model)
    return model.model_fields
