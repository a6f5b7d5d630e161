"""Finding environments by what a person calls them: id, short name, module or file.

Ready and third-party environments are found alike: packages name a function that registers theirs with Gymnasium in the
entry-point group ``gymnasium.envs``. Gymnasium itself stopped reading that group in 1.0, so it is read here.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from typing import Any

import gymnasium
from gymnasium.envs.registration import registry

from agentdistill.environment import ToolEnvironment
from agentdistill.errors import UnknownNameError, UsageError, nearest
from agentdistill.importing import import_named

GROUP = "gymnasium.envs"
NAMESPACE = "agentdistill/"


@cache
def register_installed() -> None:
    """Let every installed package register its environments, once in a process; a broken one is warned of."""
    for point in entry_points(group=GROUP):
        try:
            point.load()()
        except Exception as error:  # noqa: BLE001 - somebody else's package must not take ours down
            warnings.warn(f"{point.value} could not register its environments: {error}", stacklevel=2)


def known_environments() -> list[str]:
    """Ids of the registered tool environments (``agentdistill/*``), sorted."""
    register_installed()
    return sorted(name for name in registry if name.startswith(NAMESPACE))


def load_environment(name: str) -> Callable[..., ToolEnvironment]:
    """What makes the environment called `name`; it takes the environment's own keyword arguments.

    Args:
        name: ``repair``, ``agentdistill/Repair-v0``, any Gymnasium id, ``module:Class`` or ``path/to/file.py:Class``.

    Raises:
        UnknownNameError: nothing of that name; the message has the nearest one.
        UsageError: what is found is not a `ToolEnvironment`, or its module does not import.
    """
    register_installed()
    if ":" in name and name not in registry:
        made_by: type[ToolEnvironment] = import_named(name, _is_environment, "a ToolEnvironment class")
        return made_by
    short = {re.sub(r"-v\d+$", "", known.removeprefix(NAMESPACE)).lower(): known for known in known_environments()}
    known = name if name in registry else short.get(name.lower())
    if known is None:
        hint = nearest(name, [*short, *known_environments()])
        raise UnknownNameError(f"there is no environment {name!r}.{hint} Known: {', '.join(short)}")
    found = known

    def make(**settings: Any) -> ToolEnvironment:
        made = gymnasium.make(found, **settings).unwrapped
        if not isinstance(made, ToolEnvironment):
            raise UsageError(f"{found!r} is a {type(made).__name__}, not a ToolEnvironment")
        return made

    return make


def _is_environment(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, ToolEnvironment) and value is not ToolEnvironment
