"""What persists from one command line to the next, as the host holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

WORKSPACE = "/workspace"
FILES = "/run/files"
ENVIRONMENT: Mapping[str, str] = {
    "HOME": WORKSPACE,
    "LANG": "C.UTF-8",
    "PATH": "/opt/bin:/usr/local/bin:/usr/bin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "TZ": "UTC",
}
"""What every command starts with, unless a backend has reason to differ."""


@dataclass(frozen=True)
class ShellState:
    """Working directory (as seen inside) and exported variables, sorted by name.

    What is not UTF-8 is surrogate-escaped.
    """

    directory: str = WORKSPACE
    exports: tuple[tuple[str, str], ...] = tuple(sorted(ENVIRONMENT.items()))
