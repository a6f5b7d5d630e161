"""Finding what a person names: environments by id, short name, module or file.

Ready and third-party environments are found alike: packages name a function that registers theirs with Gymnasium in the
entry-point group ``gymnasium.envs``. Gymnasium itself stopped reading that group in 1.0, so it is read here.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from typing import Any, cast

import gymnasium
from gymnasium.envs.registration import registry

from agentdistill.environment import ToolEnvironment
from agentdistill.errors import UnknownNameError, UsageError, nearest
from agentdistill.plugins import load_object
from agentdistill.policies import Policy

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
        return _from_module(name)
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


def _from_module(name: str) -> Callable[..., ToolEnvironment]:
    found = load_object(name, _is_environment)
    if not _is_environment(found):
        raise UsageError(f"{name!r} is not a ToolEnvironment class")
    return cast("type[ToolEnvironment]", found)


def _is_environment(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, ToolEnvironment) and value is not ToolEnvironment


def load_policy(name: str) -> Policy:
    """A policy of yours: ``module:Name`` or ``path/to/file.py:Name``, a class that takes no arguments or an instance.

    Raises:
        UnknownNameError: nothing of that name; the message has the nearest one.
        UsageError: what is found is no policy, or cannot be made without arguments.
    """
    found = load_object(name, lambda value: hasattr(value, "act"))
    if isinstance(found, type):
        try:
            found = found()
        except TypeError as error:
            raise UsageError(f"{name!r} cannot be made without arguments: {error}") from error
    if not isinstance(found, Policy):
        raise UsageError(f"{name!r} is no policy: it needs name, privileged and act(requests)")
    return found
