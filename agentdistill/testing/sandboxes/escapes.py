"""Trying to get out: each attempt must work for a bare subprocess and be stopped inside, in the same run."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from agentdistill.sandbox.base import ExecResult, Sandbox
from agentdistill.testing.sandboxes.bench import Failed, one_line, require
from agentdistill.testing.sandboxes.programs import Program, run_bare, run_inside

_FILTERED = (159, -31)
"""How a process ends that a system call filter killed (SIGSYS)."""


@dataclass(frozen=True)
class Escape:
    """One attempt to reach something of the host.

    Attributes:
        program: what tries; see `programs`.
        arguments: what it is told.
        proof: what its answer must contain for the attempt to have worked; empty if any answer is proof.
        noticed: tells whether something happened at its goal since it was last asked; that then decides as well.
        only_root: if we are not root, the attempt need not work outside either: no ordinary user may do it.
        shown_where_possible: the same for any reason, for what a kernel or a container around us may forbid too.
    """

    program: Program
    arguments: tuple[str, ...] = ()
    proof: str = ""
    noticed: Callable[[], bool] | None = None
    only_root: bool = False
    shown_where_possible: bool = False
    keep_files_open: bool = False

    def fails_in(self, sandbox: Sandbox) -> str:
        """Make the attempt outside and inside, and return how it was stopped inside.

        Raises:
            Failed: it worked inside, did not work outside, or could not be made.
        """
        shown = self._works_outside()
        inside = run_inside(sandbox, self.program, *self.arguments)
        if self.noticed is not None and self.noticed():
            raise Failed(f"it reached the host: {one_line(inside.output)}")
        return shown + self._how_stopped(inside)

    def _works_outside(self) -> str:
        said = run_bare(self.program, *self.arguments, keep_files_open=self.keep_files_open)
        worked = said.startswith("reached: ") and self.proof in said
        if worked and (self.noticed is None or self.noticed()):
            return ""
        if self.shown_where_possible or (self.only_root and os.geteuid() != 0):
            return f"(outside of it, here, too: {one_line(said)}) "
        raise Failed(f"nothing is shown, because the attempt does not work outside either: {one_line(said)}")

    def _how_stopped(self, inside: ExecResult) -> str:
        said = one_line(inside.output)
        if inside.exit_code in _FILTERED:
            return "stopped: the system call is refused by a filter"
        require(inside.exit_code == 0, f"the attempt could not be made (exit code {inside.exit_code}): {said}")
        if inside.output.startswith("reached: "):
            # A goal that is told by its proof or seen from outside was missed, though something was reached.
            decided = self.proof not in inside.output if self.proof else self.noticed is not None
            require(decided, f"it worked: {said}")
            return f"missed: {said}"
        require(inside.output.startswith("stopped: "), f"the attempt could not be made: {said}")
        return said
