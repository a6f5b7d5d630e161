"""Finding what a person names: environments by id, short name, module or file.

Ready and third-party environments are found alike: packages name a function that registers theirs with Gymnasium in the
entry-point group ``gymnasium.envs``. Gymnasium itself stopped reading that group in 1.0, so it is read here.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
import warnings
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import gymnasium
from gymnasium.envs.registration import registry

from agentdistill.environment import ToolEnvironment
from agentdistill.errors import UnknownNameError, UsageError, nearest

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
    where, _, attribute = name.rpartition(":")
    module = _import_file(Path(where)) if where.endswith(".py") else _import_module(where)
    found = getattr(module, attribute, None)
    if found is None:
        known = [key for key, value in vars(module).items() if _is_environment(value)]
        raise UnknownNameError(f"{where} has no {attribute!r}.{nearest(attribute, known)}")
    if not _is_environment(found):
        raise UsageError(f"{name!r} is not a ToolEnvironment class")
    return cast("type[ToolEnvironment]", found)


def _is_environment(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, ToolEnvironment) and value is not ToolEnvironment


def _import_module(where: str) -> ModuleType:
    try:
        return importlib.import_module(where)
    except ModuleNotFoundError as error:
        if error.name and (where + ".").startswith(error.name + "."):
            raise UnknownNameError(f"there is no module {error.name!r}") from error
        raise UsageError(f"{where} does not import: {error}") from error
    except Exception as error:  # whatever somebody else's module raises, the operator gets one line
        raise UsageError(f"{where} does not import: {type(error).__name__}: {error}") from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UnknownNameError(f"there is no file {str(path)!r}")
    # A name of its own in sys.modules, so that annotations can be resolved and two files of one name do not meet.
    name = f"{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UsageError(f"{path} does not import: {type(error).__name__}: {error}") from error
    return module
