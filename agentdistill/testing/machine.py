"""What this machine has for us: one line for each thing, and how to mend what is missing."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from agentdistill.errors import AgentDistillError
from agentdistill.records import Record

KEYS = ("OPENAI_API_KEY", "OPENROUTER_API_KEY", "HF_TOKEN")
_DISK_NEEDED = 2 * 2**30  # bytes: a run's store and snapshots, and some checkpoints


class Finding(Record):
    """One thing that was looked at: `ok`, `missing` (much goes well without) or `failed` (nothing does)."""

    name: str
    status: Literal["ok", "missing", "failed"]
    detail: str
    mend: str = ""


def check_machine(keys: Iterable[str] = (), folder: Path | None = None) -> Iterator[Finding]:
    """Look at what we stand on.

    Args:
        keys: names of environment variables that a run needs keys in; those of well-known services are looked at too.
        folder: where runs will be kept; by default here.
    """
    yield _python()
    yield _package("transformers")
    yield _torch()
    yield _bubblewrap()
    yield _groups()
    yield _docker()
    yield _disk(folder or Path.cwd())
    yield from _keys(list(keys))


def _python() -> Finding:
    detail = f"{platform.python_version()} on {platform.system()} {platform.release()} ({platform.machine()})"
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding(name="python", status="failed", detail=detail, mend="install Python 3.11, 3.12 or 3.13")
    return Finding(name="python", status="ok", detail=f"{detail}, {os.cpu_count()} processors")


def _package(name: str) -> Finding:
    try:
        return Finding(name=name, status="ok", detail=version(name))
    except PackageNotFoundError:
        return Finding(name=name, status="failed", detail="not installed", mend=f"pip install {name}")


def _torch() -> Finding:
    found = _package("torch")
    if found.status != "ok":
        return found
    try:
        import torch
    except (ImportError, OSError) as error:  # a build for another machine fails as it is loaded
        detail = f"{found.detail} does not load: {_line(error)}"
        return Finding(name="torch", status="failed", detail=detail, mend="pip install --force-reinstall torch")
    if torch.cuda.is_available():
        return Finding(name="torch", status="ok", detail=f"{found.detail}, {torch.cuda.get_device_name()}")
    return Finding(name="torch", status="ok", detail=f"{found.detail}, no GPU: tiny students only")


def _bubblewrap() -> Finding:
    from agentdistill.sandbox.bubblewrap import BubblewrapBackend

    try:
        with BubblewrapBackend() as backend:
            sandbox = backend.create()
            try:
                done = sandbox.exec("echo works", timeout=20)
            finally:
                sandbox.close()
            gaps = sorted(set(backend.capabilities.known_gaps))
    except AgentDistillError as error:
        mend = "see above; or use the docker backend"
        return Finding(name="bubblewrap", status="failed", detail=_line(error), mend=mend)
    if done.output.strip() != "works":
        detail = f"a command did not run: {_line(done.output)}"
        return Finding(name="bubblewrap", status="failed", detail=detail, mend="agentdistill sandbox check bubblewrap")
    return Finding(
        name="bubblewrap", status="ok", detail=f"a command ran; it does not protect against: {', '.join(gaps)}"
    )


def _groups() -> Finding:
    from agentdistill.sandbox.cgroups import ControlGroups

    groups = ControlGroups()
    try:
        if not groups.missing:
            return Finding(
                name="control groups", status="ok", detail=f"limits hold for {', '.join(sorted(groups.limits))}"
            )
        detail = "; ".join(f"{name}: {why}" for name, why in sorted(groups.missing.items()))
    finally:
        groups.close()
    mend = "run as root, or in a session of systemd with `Delegate=yes`; limits then hold for each process alone"
    return Finding(name="control groups", status="missing", detail=_line(detail), mend=mend)


def _docker() -> Finding:
    from agentdistill.sandbox.docker.engine import Engine

    engine = Engine()
    try:
        gaps = engine.check("")
        return Finding(name="docker", status="ok", detail=f"the engine at {engine.host} answers{_and(gaps)}")
    except AgentDistillError as error:
        mend = "only for `sandbox = \"docker\"`: pip install 'agentdistill[docker]', start an engine, set DOCKER_HOST"
        return Finding(name="docker", status="missing", detail=_line(error), mend=mend)
    finally:
        engine.close()


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    detail = f"{free / 2**30:.1f} GiB free in {folder}"
    if free < _DISK_NEEDED:
        return Finding(name="disk", status="failed", detail=detail, mend="make room, or run in another folder")
    return Finding(name="disk", status="ok", detail=detail)


def _keys(needed: list[str]) -> Iterator[Finding]:
    for name in dict.fromkeys((*needed, *KEYS)):
        if os.environ.get(name, "").strip():
            yield Finding(name=name, status="ok", detail="set")
        else:
            mend = f"export {name}=…" if name in needed else "only if you use that service"
            yield Finding(name=name, status="failed" if name in needed else "missing", detail="not set", mend=mend)


def _and(gaps: dict[str, str]) -> str:
    return "".join(f"; {gap}" for gap in gaps.values())


def _line(problem: object) -> str:
    return " ".join(str(problem).split())[:300]
