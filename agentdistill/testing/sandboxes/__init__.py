"""The conformance and threat suite that any sandbox backend can be run against.

``check_sandboxes(BackendSpec("bubblewrap"))`` runs every check and yields what each found as soon as it is known;
``agentdistill sandbox check`` prints it. A check is a small public function of one of the modules here: its name is the
name of the check, the first sentence of its docstring says what is promised. What tries to get out shows in the same
run that it would get out of a bare subprocess; what tries to exhaust something is tried inside only, and must meet the
limit's own signal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agentdistill.sandbox.loading import BackendSpec
from agentdistill.testing.sandboxes import (
    commands,
    disk,
    exhaustion,
    files,
    grading,
    host_files,
    lifecycle,
    network,
    output,
    privileges,
    processes,
    snapshots,
    trees,
)
from agentdistill.testing.sandboxes.bench import Bench
from agentdistill.testing.sandboxes.suite import (
    CheckFunction,
    Finding,
    checks_of,
    choose,
    run_check,
    run_checks,
    title_of,
    unattacked_gaps,
)

CHECKS: dict[str, CheckFunction] = checks_of(
    (
        commands,
        output,
        files,
        trees,
        snapshots,
        host_files,
        processes,
        privileges,
        network,
        exhaustion,
        disk,
        grading,
        lifecycle,
    )
)
"""Every check, by name."""


def check_sandboxes(spec: BackendSpec, only: Sequence[str] = ()) -> Iterator[Finding]:
    """Run the checks on a backend, or only some by name or subject, and yield what each found.

    After a whole run, the gaps that the backend names and that no check is about are told as well.

    Raises:
        UsageError: there is no such backend, option or check.
        SandboxUnavailableError: the backend does not work on this machine.
    """
    yield from run_checks(spec, choose(CHECKS, only))
    if not only:
        yield from unattacked_gaps(spec, CHECKS)


__all__ = ["CHECKS", "Bench", "CheckFunction", "Finding", "check_sandboxes", "run_check", "title_of"]
