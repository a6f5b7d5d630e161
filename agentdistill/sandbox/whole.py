"""Sandboxes whose snapshots keep the whole file system: what they can do beyond others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from agentdistill.sandbox.base import Sandbox, SnapshotId


@dataclass(frozen=True)
class Change:
    """What differs, at an absolute path, between a file system and another that it is to be made into.

    Attributes:
        path: where.
        existed: whether something is there already.
        goes: whether what is there goes; if something comes in its place, that is a change of its own.
        target: of a symbolic link that comes.
    """

    path: str
    existed: bool
    goes: bool
    target: str


@runtime_checkable
class WholeSandbox(Sandbox, Protocol):
    """A sandbox whose whole file system can be made like that of another one of the same image."""

    @property
    def is_whole(self) -> bool:
        """Whether snapshots keep the whole file system; else the other methods are not for use."""
        ...

    def take_over(self, snapshot: SnapshotId, wanted: Callable[[Change], bool]) -> None:
        """Make this file system as that of `snapshot` is, as far as that is `wanted`; the shell stays as it is.

        What lies in a directory that is not wanted is left alone, too.

        Raises:
            SnapshotError: it is not kept any more, not of a whole file system, or of another image than this sandbox.
        """
        ...

    def image_files(self) -> Iterator[str]:
        """Absolute paths of all files and links that its image has.

        Raises:
            SnapshotError: they are not known any more.
        """
        ...
