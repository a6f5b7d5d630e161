"""Reading and writing a workspace from the host side: no process, and no trust in what a command left there.

Every component of a path is opened by itself, relative to the one before and without following links, so no
link, however placed, leads out of the workspace. What is not a regular file is never opened for good.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from agentdistill.errors import SandboxError

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a pipe would wait for somebody at its other end.
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE)


class WorkspaceFiles:
    """The file operations of `Sandbox`, on the workspace at `root`.

    Args:
        root: host path of the workspace.
        inside: its path inside the sandbox; paths below it are accepted too.
        largest: bytes; a larger file is neither read nor written.
    """

    def __init__(self, root: str, inside: str, largest: int) -> None:
        self._root = root
        self._inside = inside
        self._largest = largest

    def read(self, path: str) -> bytes:
        """See `Sandbox.read_file`."""
        with self._reporting(path), self._parent(self._parts(path)) as (folder, name):
            handle = self._open_regular(folder, name, os.O_RDONLY)
            with open(handle, "rb", buffering=0) as file:
                found = os.fstat(handle)
                if not found.st_mode & stat.S_IRUSR:
                    raise PermissionError("its owner may not read it")
                if found.st_size > self._largest:
                    raise PermissionError(f"larger than {self._largest} bytes")
                return file.read(self._largest)

    def write(self, path: str, content: bytes, executable: bool) -> None:
        """See `Sandbox.write_file`."""
        if len(content) > self._largest:
            raise PermissionError(f"{path!r}: larger than {self._largest} bytes")
        with (
            self._reporting(path, missing=PermissionError),
            self._parent(self._parts(path), make=True) as (folder, name),
        ):
            mode = 0o755 if executable else 0o644
            try:
                handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE, 0o600, dir_fd=folder)
            except FileExistsError:
                handle = self._open_regular(folder, name, os.O_WRONLY)
                there = stat.S_IMODE(os.fstat(handle).st_mode)
                if not there & stat.S_IWUSR:
                    os.close(handle)
                    raise PermissionError("its owner may not write it") from None
                mode = there | 0o111 if executable else there
            with open(handle, "wb") as file:
                file.write(content)
                # Cut afterwards, and only if need be: ext4 sends a file that was cut to nothing to the disk on closing.
                file.flush()
                if os.fstat(handle).st_size > len(content):
                    file.truncate()
                # After writing, which takes a setuid bit away.
                os.fchmod(handle, mode)

    def remove(self, path: str) -> None:
        """See `Sandbox.remove_file`."""
        with self._reporting(path), self._parent(self._parts(path)) as (folder, name):
            if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                raise PermissionError("is a directory")
            os.unlink(name, dir_fd=folder)

    def below(self, path: str) -> list[str]:
        """See `Sandbox.list_files`."""
        parts = self._parts(path)
        with self._reporting(path), self._folder(parts):
            pass
        found: list[str] = []
        # No process lives in the workspace now, so what was just seen to be free of links stays so.
        folders = ["/".join(parts)]
        while folders:
            below = folders.pop()
            try:
                with os.scandir(os.path.join(self._root, below)) as items:
                    for item in items:
                        name = f"{below}/{item.name}" if below else item.name
                        (folders if item.is_dir(follow_symlinks=False) else found).append(name)
            except OSError:
                continue  # closed by its owner, or deeper than a path can be long
        return sorted(found)

    def _parts(self, path: str) -> list[str]:
        if path == self._inside or path.startswith(self._inside + "/"):
            path = path[len(self._inside) :].lstrip("/")
        elif path.startswith("/"):
            raise PermissionError("is outside the workspace")
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise PermissionError("'..' is not allowed")
        return parts

    @contextmanager
    def _parent(self, parts: list[str], make: bool = False) -> Iterator[tuple[int, str]]:
        if not parts:
            raise PermissionError("is a directory")
        with self._folder(parts[:-1], make) as folder:
            yield folder, parts[-1]

    @contextmanager
    def _folder(self, parts: list[str], make: bool = False) -> Iterator[int]:
        """Open a directory, component by component."""
        folder = os.open(self._root, _FOLDER)
        try:
            for part in parts:
                if make:
                    try:
                        os.mkdir(part, 0o755, dir_fd=folder)
                        os.chmod(part, 0o755, dir_fd=folder)
                    except FileExistsError:
                        pass
                try:
                    within = os.open(part, _FOLDER, dir_fd=folder)
                except NotADirectoryError:
                    if stat.S_ISLNK(os.stat(part, dir_fd=folder, follow_symlinks=False).st_mode):
                        raise PermissionError("a link is on the way") from None
                    raise
                os.close(folder)
                folder = within
                # Root may enter any directory; the sandbox's user may not, and results are to be the same.
                if not os.fstat(folder).st_mode & stat.S_IXUSR:
                    raise PermissionError("a directory on the way is closed")
            yield folder
        finally:
            os.close(folder)

    def _open_regular(self, folder: int, name: str, flags: int) -> int:
        if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise PermissionError("is not a regular file")
        return os.open(name, flags | _FILE, dir_fd=folder)

    @contextmanager
    def _reporting(self, path: str, missing: type[OSError] = FileNotFoundError) -> Iterator[None]:
        """Turn what the system said into what `Sandbox` promises, with the path as the caller gave it."""
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{path!r}: no such file or directory") from error
        except NotADirectoryError as error:
            raise missing(f"{path!r}: one on the way is not a directory") from error
        except PermissionError as error:
            raise PermissionError(f"{path!r}: {error.strerror or error}") from error
        except OSError as error:
            if error.errno in _FULL:
                raise SandboxError(f"the host cannot serve {path!r}: {error.strerror}") from error
            refused = missing if error.errno == errno.ENAMETOOLONG else PermissionError
            raise refused(f"{path!r}: {error.strerror}") from error
        except ValueError as error:  # a NUL byte, or text that no file name can hold
            raise missing(f"{path!r}: not a file name") from error
