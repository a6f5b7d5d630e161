"""What persists from one command line to the next, and how it is caught when the shell ends.

Each command line gets a shell of its own. When that shell ends, by whatever way it can still be told, it writes
its directory and its exported variables into an anonymous file that it inherited, away from the command's output.
A shell that is killed or replaced (`exec`) writes nothing: what was known before stays.
"""

import os

_LARGEST = 1 << 16
# What a shell sets by itself in every new process; keeping them would make equal worlds look different.
_OWN_VARIABLES = (b"PWD", b"OLDPWD", b"SHLVL", b"_", b"")

# On one line, so that the line numbers in the shell's messages are those of the command. `%d` is the inherited
# file. The names of exported variables go through a scratch file because `$(...)` would cost a process.
# Names with underscores, and `>|`, because the command may have made variables or forbidden overwriting.
_BASH = (
    "__keep() { local __name; { pwd -P; printf '\\0'; compgen -e >|/dev/shm/.exports; while IFS= read -r __name; do "
    'printf \'%%s=%%s\\0\' "$__name" "${!__name}"; done </dev/shm/.exports; } >|/proc/self/fd/%d 2>/dev/null; }; '
    'trap __keep EXIT; eval "$1"'
)
_SH = 'trap \'{ pwd -P; printf "\\0"; env -0; } >|/proc/self/fd/%d 2>/dev/null\' EXIT; eval "$1"'
_BASH_PATH = "/bin/bash"


def shell_argv(line: bytes, report: int) -> "list[bytes]":
    """The argument vector that runs a command line and writes the state it leaves to file descriptor `report`."""
    if os.path.exists(_BASH_PATH):
        return [b"/bin/bash", b"--noprofile", b"--norc", b"-c", (_BASH % report).encode(), b"bash", line]
    return [b"/bin/sh", b"-c", (_SH % report).encode(), b"sh", line]


def left_state(report: int) -> "tuple[bytes, dict[str, bytes]] | None":
    """Directory and exported variables that a shell wrote to a file; `None` if it wrote nothing reasonable."""
    content = os.pread(report, _LARGEST + 1, 0)
    if len(content) > _LARGEST or not content.endswith(b"\0"):
        return None
    directory, *variables = content[:-1].split(b"\0")
    exports = {}
    for variable in variables:
        name, equals, value = variable.partition(b"=")
        if equals and name not in _OWN_VARIABLES:
            exports[name.decode("utf-8", "surrogateescape")] = value
    return directory[:-1] if directory.endswith(b"\n") else directory, exports
