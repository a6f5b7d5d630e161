"""Importing what a person names: `module:Name`, or `path/to/file.py:Name`; what is wrong is told in one line."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from agentdistill.errors import UnknownNameError, UsageError, nearest


def import_named(name: str, fits: Callable[[object], bool], what: str) -> Any:
    """The object that `name` leads to.

    Args:
        name: ``module:Name`` or ``path/to/file.py:Name``.
        fits: whether an object is of the kind that is wanted.
        what: that kind with its article, for messages: "a ToolEnvironment class".

    Raises:
        UnknownNameError: there is no such module, file or name; the message has the nearest one that fits.
        UsageError: what is found does not fit, or its module does not import.
    """
    where, _, attribute = name.rpartition(":")
    module = _import_file(Path(where)) if where.endswith(".py") else _import_module(where)
    found = getattr(module, attribute, None)
    if found is None:
        known = [key for key, value in vars(module).items() if fits(value)]
        raise UnknownNameError(f"{where} has no {attribute!r}.{nearest(attribute, known)}")
    if not fits(found):
        raise UsageError(f"{name!r} is not {what}")
    return found


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
