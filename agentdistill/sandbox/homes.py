"""The folder a backend lives in: its own while its process lives, and removed by the next one if that was killed.

Below `live` each backend has a folder with a lock file, which its process holds. The kernel lets a lock go however
a process ends; unlike process numbers, that also holds between containers that share the disk, and is never somebody
else's by chance. Who removes a folder holds its lock too, its own or one that was let go, so there is never more than
one. Folders appear, change hands and disappear only behind one more lock, the door of `live`; the slow part, removing
what is in them, does not keep the door shut.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from agentdistill.errors import SandboxError, SandboxUnavailableError
from agentdistill.sandbox.inside.removal import remove

_LOCK = "lock"


@dataclass(frozen=True)
class Home:
    """A folder below `live`, and the lock on it."""

    folder: Path
    lock: int

    def leave(self) -> None:
        """Remove the folder. Its lock file goes last: a folder without one would look like that of a dead process."""
        try:
            # Somebody may have removed all of it by hand, or with the temporary folder it was in.
            with suppress(FileNotFoundError):
                for name in os.listdir(self.folder):
                    if name != _LOCK:
                        remove(str(self.folder / name))
                with _door(self.folder.parent):
                    remove(str(self.folder))
        finally:
            os.close(self.lock)


def settle(live: Path) -> Home:
    """Make a folder of our own below `live`, and remove those whose process is dead."""
    # Nobody else may reach a workspace: what a command makes setuid there would run as us.
    live.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _door(live):
        abandoned = _abandoned(live)
        folder = live / f"{os.getpid()}-{secrets.token_hex(4)}"
        folder.mkdir(mode=0o700)
        home = _take(folder)
        if home is None:
            raise SandboxError(f"somebody interferes with {live}")
    _remove(abandoned)
    return home


def reap(live: Path) -> list[Path]:
    """Remove the folders below `live` whose process is dead; returns those that are gone.

    Raises:
        OSError: somebody else's, or not to be written to.
    """
    if not live.is_dir():
        return []
    with _door(live):
        abandoned = _abandoned(live)
    return _remove(abandoned)


def temporary() -> Path:
    """A folder of our own where everybody may write; somebody else's, or a link, is refused.

    Raises:
        SandboxUnavailableError: another user has taken its name, or nothing can be written there.
    """
    shared = Path(tempfile.gettempdir())
    folder = shared / f"agentdistill-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise SandboxUnavailableError(f"{shared} cannot hold sandboxes: {error.strerror}") from error
    if folder.lstat().st_uid != os.getuid():
        raise SandboxUnavailableError(f"{folder} belongs to another user: remove it, or give a folder of your own")
    return folder


def _abandoned(live: Path) -> list[Home]:
    """The folders whose process is dead, locked by us. Behind the door only."""
    return [home for other in live.iterdir() if other.is_dir() and (home := _take(other)) is not None]


def _remove(abandoned: list[Home]) -> list[Path]:
    removed = []
    for home in abandoned:
        # What cannot be removed now is left to the next one.
        with suppress(OSError):
            home.leave()
            removed.append(home.folder)
    return removed


@contextmanager
def _door(live: Path) -> Iterator[None]:
    door = os.open(live / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(door, fcntl.LOCK_EX)
        yield
    finally:
        os.close(door)


def _take(folder: Path) -> Home | None:
    """The folder, locked by us; `None` if its process lives. Behind the door only.

    A folder without a lock file is one whose process was killed while it made or removed it: it gets a new one.
    """
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None  # removed by hand a moment ago
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    except BaseException:
        os.close(lock)
        raise
    return Home(folder, lock)
