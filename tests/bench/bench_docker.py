"""What sandboxes in containers cost, next to the engine's own commands: `python tests/bench/bench_docker.py [image]`.

Without an image, one is made of files of this machine. Medians of interleaved rounds, so that a busy machine bears on
all rows alike. *docker run* is the command line's, in the same image, once until `true` has ended and its container is
removed (``--rm``), and once until a container runs in the background (``-d``).
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from agentdistill.sandbox import Sandbox
from agentdistill.sandbox.docker import DockerBackend
from agentdistill.sandbox.pool import Pool

sys.path.insert(0, str(Path(__file__).parents[1] / "sandbox"))
from images import base_image, engine_client

T = TypeVar("T")
ROUNDS = 15
EXECS = 20


def docker(*arguments: str) -> str:
    """What the command line tool says."""
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def measure(image: str, rounds: int = ROUNDS) -> dict[str, float]:
    """Medians in milliseconds, by row."""
    times: dict[str, list[float]] = {}

    def timed(row: str, act: Callable[..., T], *arguments: object) -> T:
        start = time.perf_counter()
        done = act(*arguments)
        times.setdefault(row, []).append(time.perf_counter() - start)
        return done

    def first_command(sandbox: Sandbox) -> None:
        assert sandbox.exec(["true"]).exit_code == 0

    run = ("run", "--network", "none")
    with DockerBackend(image=image) as backend, Pool(DockerBackend(image=image), 1) as pool:
        opened = backend.create()
        other = docker(*run, "-d", image, "sleep", "100000")
        try:
            for _ in range(rounds):
                timed("docker run --rm", docker, *run, "--rm", image, "true")
                name = timed("docker run -d", docker, *run, "-d", image, "sleep", "1000")
                timed("docker rm -f", docker, "rm", "-f", name)
                fresh = timed("create", backend.create)
                timed("the first command", first_command, fresh)
                timed("close", fresh.close)
                assert pool.fill(600)
                warm = timed("create, from the pool", pool.create)
                timed("the first command in it", first_command, warm)
                assert pool.fill(600)  # or its next one would be started while others are timed
                warm.close()
                for _ in range(EXECS):
                    timed("true, no sandbox", subprocess.run, ["/usr/bin/true"])
                    timed("exec of an argument vector: true", opened.exec, ["true"])
                    timed("exec of a command line: true", opened.exec, "true")
                for _ in range(3):
                    timed("docker exec", docker, "exec", other, "true")
        finally:
            docker("rm", "-f", other)
    return {name: statistics.median(values) * 1e3 for name, values in times.items()}


def main() -> None:
    """Print the table, and the ratios that matter."""
    client = engine_client()
    medians = measure(sys.argv[1] if len(sys.argv) > 1 else base_image(client))
    for name, value in medians.items():
        print(f"{name:36} {value:8.2f} ms")
    run, bare = medians["docker run -d"], medians["true, no sandbox"]
    print(f"create / docker run -d               {medians['create'] / run:8.3f}")
    print(f"create, from the pool / docker run -d{medians['create, from the pool'] / run:8.3f}")
    above = medians["exec of an argument vector: true"] - bare
    print(f"exec above no sandbox / docker exec  {above / medians['docker exec']:8.3f}")


if __name__ == "__main__":
    main()
