"""Finding the process of a sandbox's agent on the host."""

from __future__ import annotations

import os
from pathlib import Path

from agentdistill.sandbox import Sandbox


def agent_of(sandbox: Sandbox) -> int:
    """Number of the first process of a sandbox."""
    namespace = sandbox.exec(["readlink", "/proc/self/ns/pid"]).output.strip()
    (agent,) = [int(place.name) for place in Path("/proc").glob("[0-9]*") if pids_of(place) == namespace]
    return agent


def pids_of(process: Path) -> str:
    try:
        return os.readlink(process / "ns/pid")
    except OSError:
        return ""
