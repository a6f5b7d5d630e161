"""Finding the sandbox backend that a person names, and making it with the options they gave.

A backend is a class that takes ``folder=`` (where snapshots are kept, or `None`) and ``limits=``, and whatever options
of its own. Another package offers one under a short name by an entry point of the group ``agentdistill.sandboxes``.
"""

from __future__ import annotations

import importlib
import inspect
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import cast

from agentdistill.errors import ConfigError, UnknownNameError, UsageError, nearest
from agentdistill.sandbox.base import Limits, SandboxBackend
from agentdistill.sandbox.pool import Pool
from agentdistill.sandbox.replay import ReplayingBackend

GROUP = "agentdistill.sandboxes"
READY: Mapping[str, str] = {
    "bubblewrap": "agentdistill.sandbox.bubblewrap:BubblewrapBackend",
    "docker": "agentdistill.sandbox.docker:DockerBackend",
}


@dataclass(frozen=True)
class BackendSpec:
    """A backend by name, with its options: what another process needs to make the same one.

    Args:
        name: ``bubblewrap``, ``docker``, the name of an entry point, or ``module:Name``.
        options: keyword arguments of the backend, but for `folder` and `limits`; and with any backend `pool`, how many
            sandboxes to keep ready, where starting one is slow, and `replay`, true where it keeps no snapshots: what
            was done is then done again (`agentdistill.sandbox.replay`).
    """

    name: str
    options: Mapping[str, object] = field(default_factory=dict)

    def make(self, folder: Path | None = None, limits: Limits | None = None) -> SandboxBackend:
        """A backend of this kind.

        Raises:
            UnknownNameError: nothing of that name; the message has the nearest one.
            UsageError: what is found is no backend, does not import, or has no such option.
        """
        found, options, pool, replay = self._read()
        made = found(folder=folder, limits=limits, **options)
        if not isinstance(made, SandboxBackend):
            raise UsageError(f"{self.name!r} makes a {type(made).__name__}, which is not a SandboxBackend")
        made = Pool(made, pool) if pool else made
        return ReplayingBackend(made, folder) if replay else made

    def check(self) -> None:
        """Say now what `make` would say of the name and the options; nothing is made.

        Raises:
            UsageError: as `make`.
        """
        self._read()

    def _read(self) -> tuple[Callable[..., object], dict[str, object], int, bool]:
        """The class, its own options, and those of any backend: `pool` and `replay`."""
        found = _find(self.name)
        options = dict(self.options)
        pool = options.pop("pool", 0)
        if not isinstance(pool, int) or pool < 0:
            raise ConfigError(f"pool = {pool!r}: write how many sandboxes to keep ready")
        replay = options.pop("replay", False)
        if not isinstance(replay, bool):
            raise ConfigError(f"replay = {replay!r}: write true or false")
        _check_options(self.name, found, options)
        return found, options, pool, replay


def read_options(texts: Sequence[str]) -> dict[str, object]:
    """Options such as ``image=debian:12`` or ``uid=2000``, their values read as TOML, or else as text.

    Raises:
        ConfigError: one has no key or no ``=``.
    """
    options: dict[str, object] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise ConfigError(f"--option {text!r}: write it as key=value")
        try:
            options[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            options[key] = value
    return options


def _find(name: str) -> Callable[..., object]:
    target = READY.get(name, name)
    if ":" not in target:
        installed = {point.name: point.value for point in entry_points(group=GROUP)}
        if name not in installed:
            known = [*READY, *installed]
            raise UnknownNameError(
                f"there is no sandbox backend {name!r}.{nearest(name, known)} Known: {', '.join(known)}"
            )
        target = installed[name]
    where, _, attribute = target.partition(":")
    try:
        module = importlib.import_module(where)
    except ModuleNotFoundError as error:
        if error.name and (where + ".").startswith(error.name + "."):
            raise UnknownNameError(f"there is no module {error.name!r}") from error
        raise UsageError(f"{where} does not import: {error}") from error
    except Exception as error:  # whatever somebody else's module raises, the operator gets one line
        raise UsageError(f"{where} does not import: {type(error).__name__}: {error}") from error
    found = getattr(module, attribute, None)
    if found is None:
        raise UnknownNameError(f"{where} has no {attribute!r}.{nearest(attribute, vars(module))}")
    if not callable(found):
        raise UsageError(f"{name!r} is not a sandbox backend class")
    return cast("Callable[..., object]", found)


def _check_options(name: str, found: Callable[..., object], options: Mapping[str, object]) -> None:
    parameters = inspect.signature(found).parameters
    if not {"folder", "limits"} <= set(parameters):
        raise UsageError(f"{name!r} is not a sandbox backend class: it does not take folder= and limits=")
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return
    for key in options:
        if key not in parameters or key in ("folder", "limits"):
            raise ConfigError(f"{name} has no option {key!r}.{nearest(key, parameters)}")
