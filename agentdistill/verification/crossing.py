"""What crosses over from an agent's sandbox into the fresh one in which its work is judged.

Regular files cross as bytes, below the declared paths; a link, a pipe, a device, what is too large or cannot be read
does not, nor do processes, empty directories and modes (but scripts with ``#!`` and ELF programs are executable). What
would change how Python, pytest or a shell starts does not cross unless it is declared by name: the fresh sandbox keeps
the task's own, if it has one. What the agent deleted is deleted there too.

Where sandboxes keep the whole file system and `Crossing.system` says so, more crosses, and in another way: see
`agentdistill.verification.system`.
"""

from __future__ import annotations

import configparser
import fnmatch
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydantic import Field

from agentdistill.errors import SandboxError, VerifierError
from agentdistill.records import Record
from agentdistill.sandbox import Sandbox, SandboxBackend
from agentdistill.sandbox.base import SandboxFile
from agentdistill.sandbox.whole import Change, WholeSandbox
from agentdistill.verification.system import SystemRules, carry_system

PROTECTED = (
    *(".git", ".hg", ".svn"),
    *("conftest", "conftest.*", "pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", ".pytest_cache"),
    *("sitecustomize", "sitecustomize.*", "usercustomize", "usercustomize.*", "pyvenv.cfg", "*.pth"),
    *("*.dist-info", "*.egg-info", "__pycache__", "*.pyc", "*.pyo"),
    *(".local", ".config", ".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".profile", ".inputrc"),
)
"""Names of files and directories, at any depth, that cross only if they are declared."""
_CONFIGURATIONS = ("pyproject.toml", "setup.cfg", "tox.ini")
_EXECUTABLE = (b"#!", b"\x7fELF")
_NEVER = ("/logs", "/tests", "/solution", "/oracle")
HIDDEN = ".harbor"
"""The folder of a workspace that holds what is the verifier's alone."""


class Crossing(Record):
    """What crosses over, and how much of it. In a pattern, ``*`` stands for any part of a name, ``**`` for any path."""

    paths: tuple[str, ...] = Field(("**",), description="patterns; a directory stands for all below it")
    allow: tuple[str, ...] = Field((), description="patterns of protected files that cross all the same")
    never: tuple[str, ...] = Field((), description="patterns of files that do not cross, declared or not")
    system: tuple[str, ...] = Field(
        (), description="patterns of absolute paths elsewhere that cross, where the whole file system is kept"
    )
    most_files: int = 5_000
    largest_bytes: int = Field(8 << 20, description="of one file")
    total_bytes: int = Field(64 << 20, description="of all files together")


@dataclass(frozen=True)
class Crossed:
    """What crossed over, and what was left behind for which reason."""

    files: tuple[str, ...] = ()
    left_behind: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def fresh_world(
    left: Sandbox,
    backend: SandboxBackend,
    crossing: Crossing | None = None,
    own: Mapping[str, SandboxFile] | None = None,
    prepare: Callable[[Sandbox], object] | None = None,
) -> Iterator[Sandbox]:
    """A fresh sandbox with what crosses over from `left`; closed at the end.

    Args:
        left: the agent's sandbox.
        backend: where the fresh one comes from.
        crossing: what crosses; all that is not protected, unless given.
        own: the task's own files, laid before anything crosses.
        prepare: called with the fresh one after that.

    Raises:
        VerifierError: the machinery broke, here or in the body of the ``with``.
    """
    try:
        fresh = backend.create()
        try:
            if own:
                fresh.upload(own)
            if prepare is not None:
                prepare(fresh)
            _cross(left, fresh, backend, crossing or Crossing())
            yield fresh
        finally:
            fresh.close()
    except SandboxError as error:
        raise VerifierError(f"the work could not be verified: {error}") from error


def _cross(left: Sandbox, fresh: Sandbox, backend: SandboxBackend, crossing: Crossing) -> None:
    if not (
        crossing.system
        and isinstance(left, WholeSandbox)
        and isinstance(fresh, WholeSandbox)
        and left.is_whole
        and fresh.is_whole
    ):
        cross(left, fresh, crossing)
        return

    def crosses(name: str) -> bool:
        return _is_declared(name, crossing) and (not _is_protected(name) or _matches(name, crossing.allow))

    def within(name: str) -> bool:
        return crosses(name) and (not _is_configuration(name) or _matches(name, crossing.allow))

    def allowed(path: str) -> bool:
        # A pattern of the working directory says nothing about the rest.
        return _matches(path[1:], tuple(each for each in crossing.allow if each.startswith("/")))

    def elsewhere(change: Change, rules: SystemRules) -> bool:
        name = change.path[1:]
        if not _matches(name, crossing.system) or _matches(name, _NEVER):
            return False
        return allowed(change.path) or (not _is_protected(name) and rules.let_through(change))

    carry_system(left, fresh, backend, within, elsewhere, allowed, HIDDEN)
    # Of these, what they say decides.
    cross(left, fresh, crossing, lambda name: _is_configuration(name) and not _matches(name, crossing.allow))


def cross(
    left: Sandbox, fresh: Sandbox, crossing: Crossing, chosen: Callable[[str], bool] = lambda name: True
) -> Crossed:
    """Carry over from `left` to `fresh` what crosses, of the files that are `chosen` by name.

    Raises:
        SandboxError: one of them is gone.
    """
    crossed: list[str] = []
    behind: dict[str, str] = {}
    room = crossing.total_bytes
    try:
        found = left.list_files()
    except FileNotFoundError:  # where the workspace itself can be removed
        found = []
    names = [name for name in found if chosen(name) and _is_declared(name, crossing)]
    for name in names:
        try:
            if _is_protected(name) and not _matches(name, crossing.allow):
                raise PermissionError("protected")
            if len(crossed) == crossing.most_files:
                raise PermissionError("too many files")
            content = left.read_file(name)
            if len(content) > min(room, crossing.largest_bytes):
                raise PermissionError("too large")
            if _is_configuration(name) and not _matches(name, crossing.allow):
                _refuse_other_settings(name, content, fresh)
            fresh.write_file(name, content, executable=content.startswith(_EXECUTABLE))
        except (PermissionError, FileNotFoundError) as error:
            behind[name] = str(error)
            continue
        room -= len(content)
        crossed.append(name)
    for name in filter(chosen, set(fresh.list_files()).difference(names)):
        if _is_declared(name, crossing) and (not _is_protected(name) or _matches(name, crossing.allow)):
            fresh.remove_file(name)
    return Crossed(tuple(crossed), behind)


def _is_declared(name: str, crossing: Crossing) -> bool:
    return _matches(name, crossing.paths) and not _matches(name, crossing.never)


def _is_configuration(name: str) -> bool:
    return name.rpartition("/")[2] in _CONFIGURATIONS


def _is_protected(name: str) -> bool:
    # In lower case, for so Python reads the names of what says which plug-ins there are.
    return any(fnmatch.fnmatchcase(part, pattern) for part in name.lower().split("/") for pattern in PROTECTED)


def _refuse_other_settings(name: str, content: bytes, fresh: Sandbox) -> None:
    try:
        own = fresh.read_file(name)
    except (FileNotFoundError, PermissionError):
        own = b""
    try:
        same = _pytest_settings(name, content) == _pytest_settings(name, own)
    except (ValueError, configparser.Error):
        same = False
    if not same:
        raise PermissionError("protected: it has other settings for pytest, or cannot be read")


def _pytest_settings(name: str, content: bytes) -> object:
    text = content.decode()
    if name.endswith(".toml"):
        tool = tomllib.loads(text).get("tool")
        return tool.get("pytest") if isinstance(tool, dict) else None
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(text)
    # Read as pytest would, or more widely: both names in both files.
    return {section: dict(parser[section]) for section in ("pytest", "tool:pytest") if section in parser}


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(re.fullmatch(_expression(pattern), name, re.DOTALL) for pattern in patterns)


def _expression(pattern: str) -> str:
    parts = re.split(r"(\*\*/?|\*|\?)", pattern.strip("/"))
    meaning = {"**": ".*", "**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    return "".join(meaning.get(part, re.escape(part)) for part in parts) + "(?:/.*)?"
