"""Taking the portable Python and the program inside to an engine: a volume of it, filled once, mounted read-only.

A volume and not a folder of the host: the engine may be on another machine, and sandboxes get nothing of the host. Its
name says what is in it, and a file written last that it is all there. Who fills it holds a container of a fixed
name, which the engine gives to one at a time.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from agentdistill.errors import SandboxError, SandboxUnavailableError
from agentdistill.sandbox.docker.engine import Engine
from agentdistill.sandbox.docker.leftovers import KEPT_SECONDS, KIND, Owner, reap
from agentdistill.sandbox.runtime import INSIDE, PLACE, Runtime, compile_tree, tree_digest

_COMPLETE = ".complete"
_PATIENCE = 600.0  # seconds; a busy machine may take long to fill a volume, and others wait for it


def mount(volume: str, *, read_only: bool = True) -> dict[str, Any]:
    """The setting that mounts such a volume in a container."""
    return {
        "Type": "volume",
        "Source": volume,
        "Target": PLACE,
        "ReadOnly": read_only,
        "VolumeOptions": {"NoCopy": True},  # or what the image has there would be copied into it
    }


def ship(engine: Engine, runtime: Runtime, image: str, owner: Owner) -> str:
    """The name of a volume that holds `runtime` and the program inside; filled now if it is not there.

    Args:
        engine: where.
        runtime: what.
        image: any image there is; a container of it, never started, is what the engine fills a volume through.
        owner: us.

    Raises:
        SandboxError: the engine does not do it.
    """
    with tempfile.TemporaryDirectory() as folder:
        inside = Path(folder, "inside")
        shutil.copytree(INSIDE, inside, ignore=shutil.ignore_patterns("__pycache__"))
        compile_tree(Path(folder))
        digest = hashlib.sha256((runtime.digest + tree_digest(inside)).encode()).hexdigest()[:16]
        volume, filler = f"agentdistill-runtime-{digest}", f"agentdistill-filler-{digest}"
        _make(engine, volume, owner)
        container = _hold(engine, filler, volume, image, owner)
        try:
            if not _is_complete(engine, container):
                with tempfile.TemporaryFile() as packed, engine.calling("fill a volume"):
                    _pack(packed, {".": runtime.folder, "./inside": inside})
                    if not engine.api.put_archive(container, PLACE, packed):
                        raise SandboxError(f"the engine at {engine.host} does not fill the volume {volume}")
        finally:
            engine.remove(container)
        return volume


def _make(engine: Engine, volume: str, owner: Owner) -> None:
    with engine.calling("make a volume"):
        labels = owner.labels("runtime", KEPT_SECONDS)
        if KIND not in (engine.api.create_volume(volume, labels=labels).get("Labels") or {}):
            # An empty one that the engine made itself, for a container that named it after somebody had removed it.
            engine.api.remove_volume(volume, force=True)
            engine.api.create_volume(volume, labels=labels)


def _hold(engine: Engine, filler: str, volume: str, image: str, owner: Owner) -> str:
    """The container that nobody else can have at the same time."""
    import docker  # type: ignore[import-untyped]

    until = time.monotonic() + _PATIENCE
    while True:
        with engine.calling("make a container"):
            try:
                made = engine.api.create_container(
                    image,
                    entrypoint=["/none"],
                    name=filler,
                    labels=owner.labels("filler", _PATIENCE),
                    use_config_proxy=False,
                    host_config=engine.api.create_host_config(
                        mounts=[mount(volume, read_only=False)], network_mode="none", log_config={"Type": "none"}
                    ),
                )
                return str(made["Id"])
            except docker.errors.APIError as error:
                if error.status_code != 409 or "in use" not in str(error.explanation):
                    raise
        if time.monotonic() > until:
            raise SandboxUnavailableError(
                f"the engine at {engine.host} has had a container {filler} for minutes: `docker rm -f {filler}`"
            )
        time.sleep(0.1)
        reap(engine, owner)  # one whose maker was killed would be in the way for ever


def _is_complete(engine: Engine, container: str) -> bool:
    import docker

    with engine.calling("look into a volume"):
        try:
            parts, _ = engine.api.get_archive(container, f"{PLACE}/{_COMPLETE}")
            for _ in parts:
                pass
        except docker.errors.NotFound:
            return False
    return True


def _pack(to: IO[bytes], folders: Mapping[str, Path]) -> None:
    """An archive of folders under new names, of files that belong to root, and last of all the mark of completeness."""

    def roots(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(fileobj=to, mode="w") as archive:
        for name, folder in folders.items():
            archive.add(folder, arcname=name, filter=roots)
        archive.addfile(tarfile.TarInfo(f"./{_COMPLETE}"))
    to.seek(0)
