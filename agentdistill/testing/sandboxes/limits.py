"""Running against a limit: what must stop it, what must be told, and what must go on as if nothing had happened."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from agentdistill.sandbox.base import ExecResult, Sandbox
from agentdistill.testing.sandboxes.bench import Bench, one_line, require
from agentdistill.testing.sandboxes.programs import Program, run_inside

RESPONSIVE = 5.0
"""Seconds that the host may be late with something it does all the time, while a sandbox runs against its limits."""
NO_MEMORY = ("[Errno 12]",)
AGAIN = ("[Errno 11]",)
TOO_LARGE = ("[Errno 27]",)
FULL = ("[Errno 28]", "[Errno 122]")


def runs_against(bench: Bench, limit: str, signs: tuple[str, ...], program: Program, *arguments: str) -> str:
    """Let `program` run against a limit, and see that it met it, that the host lived on and the sandbox as well."""
    bench.needs_limit(limit)
    sandbox = bench.contained()
    with responsive():
        result = run_inside(sandbox, program, *arguments)
    meets(result, signs)
    still_usable(sandbox)
    return f"{one_line(result.output)}; exceeded: {result.exceeded or 'not told'}"


def meets(result: ExecResult, signs: tuple[str, ...]) -> None:
    """See that a program was stopped by its limit: by an error it was given, or by its end if that is told."""
    said = one_line(result.output)
    require(not result.output.startswith("reached: "), f"nothing stopped it: {said}")
    if result.exceeded in ("memory", "workspace") and result.exit_code > 128:
        return  # the kernel, or who watches the disk, ended it, and the backend says why
    require(result.output.startswith("stopped: "), f"it ended with {result.exit_code}, and nobody says why: {said}")
    require(any(sign in result.output for sign in signs), f"it was stopped by something else: {said}")


def still_usable(sandbox: Sandbox) -> str:
    """See that a sandbox still runs commands."""
    alive = sandbox.exec(["echo", "alive"])
    require(alive.output == "alive\n", f"afterwards the sandbox is of no use any more: {one_line(alive.output)}")
    return "the sandbox is still of use"


@contextmanager
def responsive() -> Iterator[None]:
    """Watch how late this program is with something it does all the time.

    Raises:
        Failed: it was too late.
    """
    over = threading.Event()
    late = [0.0]

    def watch() -> None:
        while not over.is_set():
            began = time.monotonic()
            over.wait(0.02)
            late[0] = max(late[0], time.monotonic() - began - 0.02)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield
    over.set()
    thread.join()
    require(late[0] < RESPONSIVE, f"meanwhile the host was {late[0]:.1f} s late")
