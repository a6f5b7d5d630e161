"""Who made what on an engine, and removing what dead runs left there.

Everything we make carries labels: what it is, who owns it, until when it may be kept. An owner is a backend; it holds
the lock of its folder on this machine (see `homes`), and the labels name that folder and the *place* it is in: a random
number written down beside the folders. Who finds the same number in its own place sees the same locks, and so knows
whether an owner lives. Of the owners of other places, other machines for one, it knows nothing: it leaves what they
own alone until its time is up.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agentdistill.errors import SandboxError
from agentdistill.sandbox.docker.engine import Engine
from agentdistill.sandbox.homes import Home, settle, temporary

KIND = "agentdistill.kind"
PLACE = "agentdistill.place"
OWNER = "agentdistill.owner"
EXPIRES = "agentdistill.expires"
Kind = Literal["sandbox", "filler", "runtime", "image"]

KEPT_SECONDS = 7 * 86400.0
"""How long what any later run may use again is kept: images built from Dockerfiles, the portable Python."""
_PATIENCE = 60.0


@dataclass(frozen=True)
class Owner:
    """Who owns what we make on engines: alive as long as it holds the lock of its folder."""

    home: Home
    place: str

    def labels(self, kind: Kind, seconds: float) -> dict[str, str]:
        """The labels of something of ours that nobody needs after so many seconds."""
        expires = f"{time.time() + seconds:.0f}"
        return {KIND: kind, PLACE: self.place, OWNER: self.home.folder.name, EXPIRES: expires}

    def leave(self) -> None:
        """Be no owner any more. Remove what is owned before."""
        self.home.leave()


def become_owner(live: Path | None = None) -> Owner:
    """Be an owner. The folders of dead ones are removed first.

    Args:
        live: where the owners of this machine have their folders; without it, in the user's temporary folder.
    """
    live = live or temporary() / "docker"
    home = settle(live)
    return Owner(home, _place(live))


def _place(live: Path) -> str:
    """The number of the place, written down by the first who asks."""
    path = live / "place"
    with suppress(FileExistsError):
        new = live / f"place-{secrets.token_hex(8)}"
        new.write_text(secrets.token_hex(16))
        try:
            path.hardlink_to(new)
        finally:
            new.unlink()
    return path.read_text()


def reap(engine: Engine, owner: Owner) -> list[str]:
    """Remove what dead owners left on the engine and what is past its time; returns what that was.

    What is in use still is left, and so is what cannot be removed now: a later run tries again.

    Raises:
        SandboxUnavailableError: the engine cannot be reached.
    """
    removed = []
    for name, labels in _containers(engine, KIND):
        if _is_dead(labels, owner):
            with suppress(SandboxError):
                engine.remove(name)
                removed.append(f"container {name[:12]}")
    return removed + _expired(engine, time.time())


def clean(engine: Engine, owner: Owner) -> list[str]:
    """As `reap`, and also remove what later runs would have used again: images we built, portable Pythons."""
    return reap(engine, owner) + _expired(engine, float("inf"))


def of_this_process(engine: Engine) -> list[str]:
    """The containers on the engine that owners in this process have, whichever backend made them.

    Raises:
        SandboxUnavailableError: the engine cannot be reached.
    """
    mine = f"{os.getpid()}-"  # as `homes.settle` names the folders of owners
    return [f"container {name[:12]}" for name, labels in _containers(engine, KIND) if labels[OWNER].startswith(mine)]


def sweep(engine: Engine, owner: Owner) -> None:
    """Remove every container of one owner, and wait until the engine has.

    Raises:
        SandboxError: the engine does not get rid of some.
    """
    until = time.monotonic() + _PATIENCE
    while found := list(_containers(engine, f"{OWNER}={owner.home.folder.name}")):
        if time.monotonic() > until:
            raise SandboxError(f"the engine does not remove containers: {', '.join(name[:12] for name, _ in found)}")
        for name, _ in found:
            engine.remove(name)
        time.sleep(0.01)


def _is_dead(labels: dict[str, str], owner: Owner) -> bool:
    if labels.get(PLACE) == owner.place:
        # Our own start has removed the folders of those that were dead by then.
        return not (owner.home.folder.parent / labels.get(OWNER, "?")).is_dir()
    return _is_past(labels, time.time())


def _is_past(labels: dict[str, str], now: float) -> bool:
    try:
        return float(labels.get(EXPIRES, "")) < now
    except ValueError:
        return False  # not a label of ours


def _containers(engine: Engine, label: str) -> Iterator[tuple[str, dict[str, str]]]:
    with engine.calling("list containers"):
        found = engine.api.containers(all=True, filters={"label": label})
    for each in found:
        yield each["Id"], each.get("Labels") or {}


def _expired(engine: Engine, now: float) -> list[str]:
    """Remove images and volumes of ours whose time was up by `now`; what a container uses the engine keeps."""
    removed = []
    with engine.calling("list images and volumes"):
        images = engine.api.images(filters={"label": f"{KIND}=image"})
        volumes = engine.api.volumes(filters={"label": KIND}).get("Volumes") or []
    for image in images:
        if _is_past(image.get("Labels") or {}, now):
            with suppress(SandboxError), engine.calling("remove an image"):
                engine.api.remove_image(image["Id"], force=False)
                removed.append(f"image {image['Id'].removeprefix('sha256:')[:12]}")
    for volume in volumes:
        if _is_past(volume.get("Labels") or {}, now):
            with suppress(SandboxError), engine.calling("remove a volume"):
                engine.api.remove_volume(volume["Name"])
                removed.append(f"volume {volume['Name']}")
    return removed
