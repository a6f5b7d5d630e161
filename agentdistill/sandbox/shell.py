"""The shell of a sandbox: what persists from one command line to the next, and how it is caught.

Each command line gets a shell of its own. When that shell ends, by whatever way it can still be told, it writes
its directory and its exported variables into an anonymous file that it inherited, away from the command's output.
A shell that is killed or replaced (`exec`) writes nothing: what was known before stays.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agentdistill.sandbox.confinement import ENVIRONMENT, WORKSPACE

_LARGEST = 1 << 16
# What a shell sets by itself in every new process; keeping them would make equal worlds look different.
_OWN_VARIABLES = frozenset({"PWD", "OLDPWD", "SHLVL", "_"})

# On one line, so that the line numbers in the shell's messages are those of the command. `%d` is the inherited
# file. The names of exported variables go through a scratch file because `$(...)` would cost a process.
# Names with underscores, and `>|`, because the command may have made variables or forbidden overwriting.
_BASH = (
    "__keep() { local __name; { pwd -P; printf '\\0'; compgen -e >|/dev/shm/.exports; while IFS= read -r __name; do "
    'printf \'%%s=%%s\\0\' "$__name" "${!__name}"; done </dev/shm/.exports; } >|/proc/self/fd/%d 2>/dev/null; }; '
    'trap __keep EXIT; eval "$1"'
)
_SH = 'trap \'{ pwd -P; printf "\\0"; env -0; } >|/proc/self/fd/%d 2>/dev/null\' EXIT; eval "$1"'


@dataclass(frozen=True)
class ShellState:
    """Working directory (as seen inside) and exported variables, sorted by name."""

    directory: str = WORKSPACE
    exports: tuple[tuple[str, str], ...] = tuple(sorted(ENVIRONMENT.items()))

    @property
    def environment(self) -> Mapping[str, str]:
        """The exported variables."""
        return dict(self.exports)


def shell_argv(command: str, bash: bool, report: int) -> Sequence[str | bytes]:
    """The argument vector that runs `command` and writes the state it leaves to file descriptor `report`."""
    try:
        line = os.fsencode(command)
    except UnicodeEncodeError:
        line = command.encode(errors="replace")
    if bash:
        return ["/bin/bash", "--noprofile", "--norc", "-c", _BASH % report, "bash", line]
    return ["/bin/sh", "-c", _SH % report, "sh", line]


def left_state(report: int, before: ShellState) -> ShellState:
    """The state that a shell wrote to the file `report`; `before` if it wrote none or an unreasonable one."""
    content = os.pread(report, _LARGEST + 1, 0)
    if not content or len(content) > _LARGEST or not content.endswith(b"\0"):
        return before
    directory, *variables = content[:-1].split(b"\0")
    exports = {}
    for variable in variables:
        name, equals, value = os.fsdecode(variable).partition("=")
        if equals and name and name not in _OWN_VARIABLES:
            exports[name] = value
    path = os.fsdecode(directory.removesuffix(b"\n"))
    return ShellState(path if path.startswith("/") else before.directory, tuple(sorted(exports.items())))
