"""Images built from a task's Dockerfile, named by what is in its folder."""

from __future__ import annotations

import hashlib
import os
import re
from collections import deque
from pathlib import Path
from typing import Literal

from agentdistill.errors import SandboxError, UsageError
from agentdistill.sandbox.docker.engine import Engine
from agentdistill.sandbox.docker.leftovers import KEPT_SECONDS, Owner

_LOG_LINES = 30
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[^\n\t\x20-\x7e\xa0-\uffff]")


def build(
    engine: Engine,
    folder: Path,
    owner: Owner,
    *,
    network: Literal["none", "default"] = "none",
    seconds: float = 1800.0,
) -> str:
    """The name of the image that the Dockerfile of `folder` makes; it is built unless the same was built before.

    Its lines run as root in containers of the engine, with the engine's usual capabilities: build only what you would
    run. They reach no network unless that is asked for, and base images must be on the engine already. The image is
    labelled, and removed by some later run after a week.

    Args:
        engine: where.
        folder: the Dockerfile, and all it copies.
        owner: us.
        network: ``default`` is what the engine gives containers that ask for nothing.
        seconds: longest silence of the build.

    Raises:
        UsageError: there is no Dockerfile.
        SandboxError: a line of it failed; the message ends with the last lines of the log.
    """
    if not (folder / "Dockerfile").is_file():
        raise UsageError(f"{folder} has no Dockerfile")
    name = f"agentdistill-task:{_digest(folder, network)}"
    if engine.has_image(name):
        return name
    log: deque[str] = deque(maxlen=_LOG_LINES)
    with engine.calling(f"build {folder}"):
        steps = engine.api.build(
            path=str(folder),
            tag=name,
            rm=True,
            forcerm=True,
            decode=True,
            timeout=seconds,
            network_mode=None if network == "default" else "none",
            labels=owner.labels("image", KEPT_SECONDS),
            use_config_proxy=network == "default",
        )
        for step in steps:
            log.extend(_CONTROL.sub("", str(step.get("stream") or step.get("error") or "")).splitlines())
            if "error" in step:
                last = "\n".join(line for line in log if line.strip())
                raise SandboxError(f"{folder}/Dockerfile does not build:\n{last}")
    return name


def _digest(folder: Path, network: str) -> str:
    """SHA-256, shortened, over names, executable bits, link targets and contents below `folder`."""
    total = hashlib.sha256(network.encode())
    for where, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted((*files, *(each for each in folders if Path(where, each).is_symlink()))):
            path = Path(where, name)
            if path.is_symlink():
                about, content = "link", os.readlink(path).encode(errors="surrogateescape")
            elif path.is_file():
                about, content = ("program" if path.stat().st_mode & 0o100 else "file"), path.read_bytes()
            else:
                continue
            key = f"{path.relative_to(folder)}\0{about}\0{len(content)}\0"
            total.update(key.encode(errors="surrogateescape") + content)
    return total.hexdigest()[:16]
