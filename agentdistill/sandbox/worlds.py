"""Sandboxes of other worlds from one backend: a task's own image, working directory, user, limits.

An environment whose tasks differ in these asks its backend for a backend of each `World`. All of them share one store
of snapshots and are closed together, so that whoever holds the backend holds everything.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, field_validator

from agentdistill.errors import UsageError
from agentdistill.sandbox.base import Limits, SandboxBackend, SandboxFile

_PATH = re.compile(r"(/[\w.@+-]+)+", re.ASCII)


class World(BaseModel):
    """What sandboxes are to be like, where that is not as the backend has them anyway."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")

    image: str = ""
    """An image that is there already. Or use `context`."""
    context: Mapping[str, SandboxFile] = Field(default_factory=dict)
    """Files to build an image of, a ``Dockerfile`` among them."""
    any_image: bool = False
    """A backend that has an image of its own, or needs none, uses that in place of `image`."""
    directory: str = ""
    """Absolute path of the workspace; the image's working directory, or the backend's usual place, without it."""
    environment: Mapping[str, str] = Field(default_factory=dict)
    """Variables of every command."""
    user: str = ""
    """Name or number of the user that commands run as."""
    network: Literal["none", "public"] = "none"
    links: Mapping[str, str] = Field(default_factory=dict)
    """Absolute paths that are links into the workspace → what they lead to, relative to the workspace. One that lies in
    the workspace itself is not made."""
    cpus: float | None = Field(default=None, gt=0)
    """See `Limits`; the backend's without it. So are the others."""
    memory_bytes: int | None = Field(default=None, gt=0)
    workspace_bytes: int | None = Field(default=None, gt=0)
    seconds: float | None = Field(default=None, gt=0)
    build_seconds: float = Field(default=1800.0, gt=0)
    """Longest silence while the image is built."""
    judging: bool = False
    """No process outlives its command, however the backend is set."""

    @field_validator("directory")
    @classmethod
    def _is_a_plain_path(cls, path: str) -> str:
        return path and plain_path(path)

    @field_validator("links")
    @classmethod
    def _are_plain_paths(cls, links: Mapping[str, str]) -> Mapping[str, str]:
        for path, target in links.items():
            plain_path(path)
            plain_path(f"/{target}")
        return links

    @property
    def key(self) -> str:
        """Equal for worlds that are the same; 64 hex digits that tell nothing of what is in it."""
        files = {
            path: (hashlib.sha256(file.content).hexdigest(), file.executable) for path, file in self.context.items()
        }
        rest = self.model_copy(update={"context": {}}).model_dump_json()
        return hashlib.sha256(repr((rest, sorted(files.items()))).encode("utf-8", "surrogatepass")).hexdigest()

    def limited(self, limits: Limits) -> Limits:
        """What applies in place of a backend's `limits`."""
        own = {name: getattr(self, name) for name in ("cpus", "memory_bytes", "workspace_bytes", "seconds")}
        return limits.model_copy(update={name: value for name, value in own.items() if value is not None})

    def is_plain(self, has_image: bool) -> bool:
        """Whether these are the sandboxes that a backend has anyway; `has_image`: one that needs no other image."""
        plain = World()
        named = {"image", "context", "build_seconds"} if has_image and self.any_image else set()
        return self.model_copy(update={name: getattr(plain, name) for name in {*named, "any_image"}}) == plain

    def links_from(self, workspace: str) -> dict[str, str]:
        """The links that are made where the workspace is at that absolute path, with the absolute paths they lead to.

        Raises:
            UsageError: the workspace would be behind one.
        """
        made = {path: f"{workspace}/{to}" for path, to in self.links.items() if not _is_within(path, workspace)}
        for path in made:
            if _is_within(workspace, path):
                raise UsageError(f"{path} cannot be a link in a sandbox that works in {workspace}")
        return made


@runtime_checkable
class WorldBackend(Protocol):
    """A `SandboxBackend` that makes sandboxes of other worlds too."""

    def world(self, world: World) -> SandboxBackend:
        """A backend for sandboxes of `world`: the same one for equal worlds, whichever thread asks.

        It restores snapshots of this one and of its other worlds, and is closed with it. Ask again for each sandbox:
        one that has none may be closed when there are many.

        Raises:
            UsageError: this backend has no such sandboxes; says in one line which one has.
        """
        ...


def plain_path(path: str) -> str:
    """`path`, if it is absolute, of ordinary characters, and leads straight to where it says.

    Raises:
        ValueError: it is not.
    """
    if not _PATH.fullmatch(path) or not {".", ".."}.isdisjoint(PurePosixPath(path).parts):
        raise ValueError(f"{path!r} is no plain absolute path")
    return path


def _is_within(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder}/")


def world_of(backend: SandboxBackend, world: World) -> SandboxBackend:
    """A backend for sandboxes of `world`; see `WorldBackend.world`.

    Raises:
        UsageError: `backend` has none.
    """
    if not isinstance(backend, WorldBackend):
        raise UsageError(
            f"{type(backend).__name__} has no sandboxes of a task's own world: use the docker or bubblewrap backend"
        )
    return backend.world(world)
