"""A task's own ``test.sh``: run in a fresh sandbox, it leaves its reward in a file there, which is read afterwards.

The fresh sandbox sees the tests at ``/tests`` and writes below ``/logs/verifier``: both are links into a hidden folder
of its workspace (`LINKS`), so that a sandbox whose root is read-only can have them, and snapshots hold them. Nothing of
that folder crosses over from the agent's sandbox.

What is not covered: the work runs as the same user as the script, in the same sandbox. Code of the work that the script
*runs* can read the tests, and can write the reward file itself while the script runs; a process that it leaves behind
is dead before the file is read. Hidden tests (`agentdistill.verification.tests`) do not have that weakness.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from agentdistill.errors import UnreadableRewardError, VerifierError
from agentdistill.sandbox import ExecResult, Sandbox
from agentdistill.sandbox.base import SandboxFile
from agentdistill.verification.crossing import HIDDEN

LINKS: Mapping[str, str] = {"/logs": f"{HIDDEN}/logs", "/tests": f"{HIDDEN}/tests"}
"""Absolute paths in a sandbox that runs a script → where they lead to, for `World.links`."""
LOGS = LINKS["/logs"]
_REWARDS = ("reward.json", "reward.txt")
_RUN = "if [ -x /tests/test.sh ]; then /tests/test.sh; else bash /tests/test.sh; fi"
_NOT_RUNNABLE = (126, 127)


@dataclass(frozen=True)
class ScriptRun:
    """What a script left: its reward files as they are, `None` where there is none, and how it ended."""

    json_file: bytes | None
    text_file: bytes | None
    ended: ExecResult

    @property
    def told(self) -> str:
        """How it ended, and the last line it wrote, at most 200 characters of it."""
        last = self.ended.output.strip().rsplit("\n", 1)[-1][:200]
        ending = "timed out" if self.ended.timed_out else f"exit code {self.ended.exit_code}"
        return f"test.sh: {ending}; {last}" if last else f"test.sh: {ending}"


def make_folder(sandbox: Sandbox, path: str) -> None:
    """Make a folder of the workspace, with those above it; it may be there."""
    # A sandbox makes folders for files only; a command of our own would depend on what the image has.
    mark = f"{path}/.made"
    sandbox.write_file(mark, b"")
    sandbox.remove_file(mark)


def carry(
    left: Sandbox,
    fresh: Sandbox,
    source: str,
    target: str,
    *,
    exclude: Sequence[str] = (),
    room: int = 64 << 20,
    most_files: int = 5_000,
) -> int:
    """Carry a file, or the regular files below a folder, from one sandbox into another; returns how many bytes.

    Args:
        left: from where.
        fresh: to where.
        source: the file or folder, relative to the workspace of `left`; ``.`` is all of it but the hidden folder.
        target: where it is to be, likewise in `fresh`. A folder is made, even if there is nothing in it.
        exclude: patterns, of names or of paths below the folder, that are left behind.
        room: bytes; what is beyond stays behind.
        most_files: likewise.
    """
    try:
        found = left.list_files(source)
    except FileNotFoundError:
        pairs = [(source, target)]
    except PermissionError:
        return 0
    else:
        below = [name if source == "." else name[len(source) + 1 :] for name in found]
        pairs = [(name, posixpath.join(target, rest)) for name, rest in zip(found, below, strict=True)]
        pairs = [pair for pair in pairs if source != "." or not pair[0].startswith(f"{HIDDEN}/")]
        if target != ".":
            make_folder(fresh, target)
    carried = 0
    for name, to in pairs[:most_files]:
        shown = posixpath.relpath(to, target)
        if any(fnmatchcase(each, pattern) for pattern in exclude for each in (shown, posixpath.basename(name))):
            continue
        try:
            content = left.read_file(name)
            if carried + len(content) <= room:
                fresh.write_file(to, content, executable=content.startswith((b"#!", b"\x7fELF")))
                carried += len(content)
        except (FileNotFoundError, PermissionError):
            continue  # gone, closed, no regular file
    return carried


def run_script(fresh: Sandbox, tests: Mapping[str, SandboxFile] | None, *, timeout: float | None = None) -> ScriptRun:
    """Run ``/tests/test.sh`` in the working directory of a fresh sandbox that has the links of `LINKS`.

    Args:
        fresh: holds the work, and nothing of it has run yet.
        tests: laid at ``/tests``; `None` where the sandbox's image has them there.
        timeout: seconds.

    Raises:
        VerifierError: the script cannot be run at all.
        UnreadableRewardError: what stands in place of a reward file is no regular file, or too large.
    """
    if tests is not None:
        fresh.upload(tests, LINKS["/tests"])
    make_folder(fresh, f"{LOGS}/verifier")
    ended = fresh.exec(_RUN, timeout=timeout)
    json_file, text_file = (_reward(fresh, name) for name in _REWARDS)
    if json_file is None and text_file is None and ended.exit_code in _NOT_RUNNABLE:
        raise VerifierError(f"tests/test.sh could not be run: {ended.output.strip()[-200:]}")
    return ScriptRun(json_file, text_file, ended)


def _reward(fresh: Sandbox, name: str) -> bytes | None:
    try:
        return fresh.read_file(f"{LOGS}/verifier/{name}")
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise UnreadableRewardError(f"{name} cannot be read: {error}") from error
