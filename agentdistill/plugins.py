"""Finding what a person wrote elsewhere and names: `module:Name`, or `path/to/file.py:Name`."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from agentdistill.errors import UnknownNameError, UsageError, nearest


def load_object(name: str, fits: Callable[[object], bool] = lambda found: True) -> object:
    """What `name` stands for.

    Args:
        name: ``module:Name`` or ``path/to/file.py:Name``.
        fits: what could have been meant, for the hint at a misspelt name; what is found is not checked with it.

    Raises:
        UnknownNameError: no such module, file or name in it; the message has the nearest one.
        UsageError: the module does not import, or `name` has no colon.
    """
    where, colon, attribute = name.rpartition(":")
    if not colon or not where:
        raise UsageError(f"{name!r}: write it as module:Name or file.py:Name")
    module = _import_file(Path(where)) if where.endswith(".py") else _import_module(where)
    found: object = getattr(module, attribute, None)
    if found is None:
        known = [key for key, value in vars(module).items() if not key.startswith("_") and fits(value)]
        raise UnknownNameError(f"{where} has no {attribute!r}.{nearest(attribute, known)}")
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
