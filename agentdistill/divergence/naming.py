"""Detectors by name, as a config gives them: a name, or a table of a name and its settings."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue, ValidationError

from agentdistill.divergence.asked import Disagreement, LastingDisagreement
from agentdistill.divergence.base import Detector, Settings
from agentdistill.divergence.combined import Earliest, FirstOf, Vote
from agentdistill.divergence.judged import Judge
from agentdistill.divergence.likelihood import LikelihoodGap, Surprise
from agentdistill.divergence.observed import (
    BrokenVisibleTest,
    FailingVisibleTest,
    FirstToolError,
    LastingToolError,
    LastStep,
    Loop,
    NoChange,
    Progress,
    RandomStep,
    RepeatedOrInvalid,
)
from agentdistill.divergence.tried import CostToGo, LastRecoverable, StudentValue
from agentdistill.errors import ConfigError, UnknownNameError, UsageError, nearest
from agentdistill.plugins import load_object

DetectorSpec = str | dict[str, JsonValue]
"""A name, or a table with a `name` and that detector's settings; `of` holds the parts of one made of several."""

KNOWN: Mapping[str, type[Settings]] = {
    "first_tool_error": FirstToolError,
    "lasting_tool_error": LastingToolError,
    "failing_visible_test": FailingVisibleTest,
    "broken_visible_test": BrokenVisibleTest,
    "loop": Loop,
    "no_change": NoChange,
    "repeated_or_invalid": RepeatedOrInvalid,
    "progress": Progress,
    "surprise": Surprise,
    "likelihood_gap": LikelihoodGap,
    "disagreement": Disagreement,
    "lasting_disagreement": LastingDisagreement,
    "judge": Judge,
    "last_recoverable": LastRecoverable,
    "student_value": StudentValue,
    "cost_to_go": CostToGo,
    "last_step": LastStep,
    "random": RandomStep,
    "earliest": Earliest,
    "first_of": FirstOf,
    "vote": Vote,
}


def detector(specs: Sequence[DetectorSpec], seed: int = 0) -> Detector:
    """The detector that these say, the earliest of them if there are several.

    Args:
        specs: names, tables ``{name = "student_value", tries = 4}``, and ``module:Name`` or ``path/to/file.py:Name`` of
            your own: a class that is made with the table's other keys, or a function.
        seed: of those that draw (`random`), unless their table has one.

    Raises:
        UnknownNameError: no detector has one of the names, or none is named.
        ConfigError: a setting that there is not, or of the wrong type.
        UsageError: what `module:Name` leads to is no detector.
    """
    if not specs:
        raise UnknownNameError(f"name at least one detector; there are {', '.join(KNOWN)}")
    made = [_make(spec, seed) for spec in specs]
    return made[0] if len(made) == 1 else Earliest(of=tuple(made))


def _make(spec: DetectorSpec, seed: int) -> Detector:
    settings: dict[str, Any] = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = settings.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(f"a detector needs a name: {spec!r} has none")
    parts = settings.get("of")
    if parts is not None:
        if not isinstance(parts, list | tuple) or not all(isinstance(part, str | dict) for part in parts):
            raise ConfigError(f"detector {name!r}: of must be a list of detectors, not {parts!r}")
        settings["of"] = tuple(_make(part, seed) for part in parts)
    if ":" in name:
        return _own(name, settings)
    kind = KNOWN.get(name)
    if kind is None:
        raise UnknownNameError(f"unknown detector {name!r}; there are {', '.join(KNOWN)}.{nearest(name, KNOWN)}")
    if kind is RandomStep:
        settings.setdefault("seed", seed)
    try:
        made = kind(**settings)
    except ValidationError as error:
        raise ConfigError(f"detector {name!r}: {_first_problem(error, kind)}") from error
    assert isinstance(made, Detector)
    return made


def _own(name: str, settings: dict[str, Any]) -> Detector:
    """A user's detector: a class made with the settings, or a function that needs none."""
    found = load_object(name, callable)
    if not callable(found):
        raise UsageError(f"{name!r} is not a detector")
    if isinstance(found, type):
        try:
            found = found(**settings)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"detector {name!r}: {str(error).splitlines()[0]}") from error
    elif settings:
        raise ConfigError(f"detector {name!r} is a function and takes no settings: make it a class")
    try:
        inspect.signature(found).bind(None, None)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"detector {name!r} cannot be called with a trajectory and probes: {error}") from error
    made: Detector = found
    return made


def _first_problem(error: ValidationError, kind: type[Settings]) -> str:
    problem = error.errors(include_url=False)[0]
    where = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return f"there is no setting {where!r}.{nearest(where, kind.model_fields)}"
    if problem["type"] == "missing":
        return f"the setting {where!r} is missing"
    return f"{where}: {problem['msg'].lower()}, not {problem['input']!r}"
