"""Attempts as small programs: the same code is run inside a sandbox and, to show that it works, as a bare subprocess.

A program is a function that needs nothing around it: it imports what it uses, takes and returns text, returns when its
attempt worked and raises `OSError` when it was stopped. Its source is what is run.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Mapping

from agentdistill.sandbox.base import ExecResult, Sandbox

Program = Callable[..., str]

_FRAME = """from __future__ import annotations
{source}
import sys
try:
    said = "reached: " + {name}(*sys.argv[1:])
except OSError as error:
    said = "stopped: " + str(error)
sys.stdout.buffer.write(said.encode(errors="replace") + b"\\n")
"""


def source_of(program: Program) -> str:
    """The whole Python program that runs `program` with its arguments and prints how the attempt ended."""
    return _FRAME.format(source=textwrap.dedent(inspect.getsource(program)), name=program.__name__)


def command_of(python: str, program: Program, *arguments: str) -> list[str]:
    """The argument vector that runs `program` with the interpreter `python`."""
    return [python, "-I", "-S", "-B", "-c", source_of(program), *arguments]


def run_inside(
    sandbox: Sandbox,
    program: Program,
    *arguments: str,
    timeout: float | None = None,
    files: Mapping[str, bytes] | None = None,
) -> ExecResult:
    """Run `program` in a sandbox."""
    return sandbox.exec(command_of(sandbox.python, program, *arguments), timeout=timeout, files=files)


def run_bare(program: Program, *arguments: str, keep_files_open: bool = False) -> str:
    """Run `program` as an ordinary process of the host, in an empty folder, and return what it printed."""
    with tempfile.TemporaryDirectory(prefix="agentdistill-check-") as folder:
        done = subprocess.run(
            command_of(sys.executable, program, *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            close_fds=not keep_files_open,
            timeout=60,
        )
    return done.stdout.decode(errors="replace")


def working_directory() -> str:
    """The directory a program starts in."""
    import os

    return os.getcwd()


def namespace() -> str:
    """Which processes this one is among: the identity of its PID namespace and of its kernel's boot."""
    import os

    try:
        place = os.readlink("/proc/self/ns/pid")
    except OSError:
        place = "none"
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return place + file.read()
    except OSError:
        return place


def finds_file(name: str) -> str:
    """Walk over all there is, and over what other processes see, looking for a file of this name."""
    import os

    places = [os.path.dirname(os.getcwd()), "/"]
    places += ["/proc/" + process + "/root" for process in os.listdir("/proc") if process.isdigit()]
    seen = set()
    for place in places:
        for folder, folders, files in os.walk(place):
            try:
                info = os.stat(folder)
            except OSError:
                continue
            if (info.st_dev, info.st_ino) in seen:
                folders.clear()
                continue
            seen.add((info.st_dev, info.st_ino))
            if name in files:
                return folder
            if folder == place:
                folders[:] = [each for each in folders if each not in ("proc", "sys", "usr")]
    raise FileNotFoundError("it is nowhere")
