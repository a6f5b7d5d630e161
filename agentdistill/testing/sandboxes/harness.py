"""A program like ours, in a process of its own: it has a terminal, is interrupted or killed while its sandboxes live.

The process is given the backend by name and options, and obeys one JSON line at a time.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from agentdistill.sandbox.loading import BackendSpec
from agentdistill.testing.sandboxes.bench import SMALL, Bench, Failed, one_line
from agentdistill.testing.sandboxes.programs import Program, command_of

PATIENCE = 60.0
"""Seconds that the process may take for one answer."""


class Harness:
    """Starts the process, and ends it when the context is left.

    Args:
        bench: what tells the backend.
        folder: where the backend keeps its snapshots; a temporary one if `None`.
        terminal: whether the process is given a terminal of its own.
    """

    def __init__(self, bench: Bench, folder: Path | None = None, *, terminal: bool = False) -> None:
        work = {
            "name": bench.spec.name,
            "options": dict(bench.spec.options),
            "folder": str(folder or bench.folder()),
            "path": sys.path,
            "terminal": terminal,
        }
        code = "import json, sys; work = json.loads(sys.argv[1]); sys.path[:] = work['path']; "
        code += f"from {__name__} import obey; obey(work)"
        leader, follower = pty.openpty() if terminal else (-1, -1)
        self._terminal = leader
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, json.dumps(work)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=follower if terminal else subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )
        if terminal:
            os.close(follower)
        self.pid = self._process.pid

    def ask(self, what: str, **arguments: object) -> str:
        """Have the process do something; returns what it answered.

        Raises:
            Failed: it gave no answer.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"what": what, **arguments}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise Failed(f"a program that uses the backend died while it was to {what}")
        found: Mapping[str, str] = json.loads(answer)
        if "error" in found:
            raise Failed(f"{what}: {found['error']}")
        return found["answer"]

    def inside(self, program: Program, *arguments: str) -> str:
        """What a program says that runs in a sandbox of the process."""
        return self.ask("run inside", command=command_of("", program, *arguments)[1:])

    def bare(self, program: Program, *arguments: str) -> str:
        """What a program says that runs as an ordinary child of the process."""
        return self.ask("run bare", command=command_of(sys.executable, program, *arguments))

    def send(self, number: int) -> None:
        """Send the process a signal."""
        self._process.send_signal(number)

    def end(self) -> int:
        """Wait until the process has ended, killing it if it takes too long; returns how it ended."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            if self._terminal >= 0:
                os.close(self._terminal)
                self._terminal = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.send(signal.SIGTERM if kind is None else signal.SIGKILL)
        self.end()


def obey(work: Mapping[str, object]) -> None:
    """What the process does: one sandbox, and one answer for each line that is asked."""
    if work["terminal"]:
        fcntl.ioctl(2, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    options = work["options"]
    assert isinstance(options, dict)
    backend = BackendSpec(str(work["name"]), options).make(Path(str(work["folder"])), SMALL)
    with_sandbox = None
    try:
        sandbox = with_sandbox = backend.create()
        for line in sys.stdin:
            asked = json.loads(line)
            try:
                if asked["what"] == "run inside":
                    answer = sandbox.exec([sandbox.python, *asked["command"]]).output
                elif asked["what"] == "run bare":
                    answer = subprocess.run(asked["command"], capture_output=True, text=True).stdout
                elif asked["what"] == "run a line":
                    # Answered before it is run: it is to go on while something else happens.
                    print(json.dumps({"answer": ""}), flush=True)
                    sandbox.exec(asked["line"])
                    continue
                elif asked["what"] == "run a line and wait":
                    answer = sandbox.exec(asked["line"]).output
                elif asked["what"] == "write":
                    sandbox.write_file(asked["path"], asked["text"].encode())
                    answer = ""
                else:
                    answer = sandbox.snapshot()
                said = {"answer": answer}
            except Exception as error:  # noqa: BLE001 - it is told to who asked
                said = {"error": one_line(error)}
            print(json.dumps(said), flush=True)
    finally:
        if with_sandbox is not None:
            with_sandbox.close()
        backend.close()
