"""What snapshots of a whole container cost: `python tests/bench/bench_root.py IMAGE`, which needs a shell.

A sandbox that is root of a container of the image does a step, over and over, and a snapshot is taken after each; in
turn with ``docker commit`` of a container in which the same was done, which keeps the file system only. Then the last
state is restored in place and forked. Medians.
"""

from __future__ import annotations

import functools
import statistics
import sys
import time
from collections.abc import Callable

import docker

from agentdistill.sandbox.base import Limits
from agentdistill.sandbox.docker import DockerBackend

TIMES = 9
IMAGE = "agentdistill-bench"
STEPS = {
    "a file in the workspace": "mkdir -p /workspace; echo {} > /workspace/file",
    "a program in /usr/local/bin": "mkdir -p /usr/local/bin; echo {} > /usr/local/bin/tool{}",
    "a program in /usr/bin, a file in /etc given away": "echo {} > /usr/bin/tool{}; chown {}:{} /etc/passwd",
    "one of 3,000 new files": "mkdir -p /opt/many; "
    "for i in $(seq 3000); do [ -e /opt/many/$i ] || echo > /opt/many/$i; done; "
    "echo {} > /opt/many/7",
}


def milliseconds(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    do()
    return (time.perf_counter() - began) * 1e3


def main() -> None:
    image = sys.argv[1]
    client = docker.APIClient(**docker.utils.kwargs_from_env(), version="auto")
    settings = client.create_host_config(network_mode="none")
    container = client.create_container(image, entrypoint=["/bin/sh", "-c", "sleep 10000"], host_config=settings)["Id"]
    client.start(container)
    try:
        with DockerBackend(limits=Limits(seconds=60), image=image, root=True) as backend:
            print(f"the first sandbox, which looks at the image: {milliseconds(lambda: backend.create()):.0f} ms")
            print(f"a sandbox: {statistics.median(milliseconds(backend.create) for _ in range(TIMES)):.0f} ms")
            sandbox = backend.create()
            fresh = sandbox.snapshot()
            for title, line in STEPS.items():
                ours, theirs = [], []
                for number in range(TIMES):
                    command = line.replace("{}", str(number))
                    assert sandbox.exec(command).exit_code == 0
                    ours.append(milliseconds(sandbox.snapshot))
                    client.exec_start(client.exec_create(container, ["/bin/sh", "-c", command]))
                    theirs.append(milliseconds(functools.partial(client.commit, container, IMAGE, f"n{number}")))
                here, there = statistics.median(ours), statistics.median(theirs)
                print(f"{title}: {here:.1f} ms; docker commit {there:.0f} ms: {here / there:.2f} ×")
            last = sandbox.snapshot()
            print(f"a fork: {statistics.median(milliseconds(lambda: backend.create(last)) for _ in range(3)):.0f} ms")
            print(f"back to the image: {milliseconds(lambda: sandbox.restore(fresh)):.0f} ms")
    finally:
        client.remove_container(container, force=True)
        for number in range(TIMES):
            client.remove_image(f"{IMAGE}:n{number}", force=True)


if __name__ == "__main__":
    main()
