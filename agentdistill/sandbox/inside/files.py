"""Reading and writing below one directory, with no trust in what a command left there.

Every component of a path is opened by itself, relative to the one before and without following links, so no
link, however placed, leads out of the directory. What is not a regular file is never opened for good.
"""

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .wire import Body

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a pipe would wait for somebody at its other end.
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_BROKEN = (errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Refusal(Exception):
    """What a request gets instead of what it asked for.

    Args:
        kind: ``missing``, ``refused`` or ``broken``.
        detail: one line.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


class Files:
    """The file operations of a sandbox, below the directory `root`.

    Args:
        root: absolute path; paths below it are accepted too.
        largest: bytes; a larger file is neither read nor written.
        owner: user and group of what is made, if not those of this process.
    """

    def __init__(self, root: str, largest: int, owner: "tuple[int, int] | None" = None) -> None:
        self._root = os.fsencode(root)
        self._largest = largest
        self._owner = owner

    def read(self, path: bytes) -> bytes:
        """The bytes of a regular file."""
        try:
            with _Folder(self, path) as place:
                return self._content(place.number, place.name, self._largest)
        except (OSError, ValueError) as error:
            raise _refusal(path, error, "missing") from error

    def write(self, path: bytes, body: "Body", size: int, executable: bool) -> None:
        """Write the next `size` bytes of `body` to a file, with its parent directories."""
        try:
            if size > self._largest:
                raise PermissionError(f"larger than {self._largest} bytes")
            with _Folder(self, path, make=True) as place:
                there, handle, mode = _open_to_write(place.number, place.name, executable)
                with open(handle, "wb", buffering=0) as file:
                    for chunk in body.chunks(size):
                        _write(handle, chunk)
                    if os.fstat(handle).st_size > size:
                        file.truncate(size)
                    if self._owner is not None and not there:
                        os.fchown(handle, *self._owner)
                    # After both, which take a setuid bit away.
                    os.fchmod(handle, mode)
        except (OSError, ValueError) as error:
            raise _refusal(path, error, "refused") from error

    def remove(self, path: bytes) -> None:
        """Remove a file or a link."""
        try:
            with _Folder(self, path) as place:
                if stat.S_ISDIR(os.stat(place.name, dir_fd=place.number, follow_symlinks=False).st_mode):
                    raise PermissionError("is a directory")
                os.unlink(place.name, dir_fd=place.number)
        except (OSError, ValueError) as error:
            raise _refusal(path, error, "missing") from error

    def below(self, path: bytes) -> "list[bytes]":
        """Every file and link below a directory, sorted, relative to the root."""
        try:
            parts = self.parts(path)
            os.close(self.folder(parts))
        except (OSError, ValueError) as error:
            raise _refusal(path, error, "missing") from error
        found: list[bytes] = []
        # What a process that lives on changes meanwhile leads at most to names that every command may see.
        folders = [b"/".join(parts)]
        while folders:
            below = folders.pop()
            try:
                with os.scandir(os.path.join(self._root, below)) as items:
                    for item in items:
                        name = below + b"/" + item.name if below else item.name
                        (folders if item.is_dir(follow_symlinks=False) else found).append(name)
            except OSError:
                continue  # closed by its owner, or deeper than a path can be long
        return sorted(found)

    def contents(self, path: bytes, largest: int) -> "Iterator[tuple[bytes, bytes, bool]]":
        """Every regular file below a directory that can be read: path relative to the root, content, executable."""
        for name in self.below(path):
            try:
                with _Folder(self, name) as place:
                    found = os.stat(place.name, dir_fd=place.number, follow_symlinks=False)
                    if not stat.S_ISREG(found.st_mode):
                        continue
                    if found.st_size > largest:
                        raise Refusal("refused", f"{_shown(path)}: its files are too large together")
                    content = self._content(place.number, place.name, largest)
            except (OSError, ValueError):
                continue  # closed by its owner, or gone by now
            largest -= len(content)
            yield name, content, bool(found.st_mode & stat.S_IXUSR)

    def parts(self, path: bytes) -> "list[bytes]":
        """The components of a path.

        Raises:
            PermissionError: it leaves the root.
        """
        if path == self._root or path.startswith(self._root + b"/"):
            path = path[len(self._root) :].lstrip(b"/")
        elif path.startswith(b"/"):
            raise PermissionError("is outside the workspace")
        parts = [part for part in path.split(b"/") if part not in (b"", b".")]
        if b".." in parts:
            raise PermissionError("'..' is not allowed")
        return parts

    def folder(self, parts: "list[bytes]", make: bool = False) -> int:
        """Open a directory, component by component."""
        folder = os.open(self._root, _FOLDER)
        try:
            for part in parts:
                if make:
                    try:
                        os.mkdir(part, 0o755, dir_fd=folder)
                        if self._owner is not None:
                            os.chown(part, *self._owner, dir_fd=folder, follow_symlinks=False)
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
                # Whoever we are: root may enter any directory, and results are to be the same.
                if not os.fstat(folder).st_mode & stat.S_IXUSR:
                    raise PermissionError("a directory on the way is closed")
        except BaseException:
            os.close(folder)
            raise
        return folder

    def _content(self, folder: int, name: bytes, largest: int) -> bytes:
        handle = _open_regular(folder, name, os.O_RDONLY)
        try:
            found = os.fstat(handle)
            if not found.st_mode & stat.S_IRUSR:
                raise PermissionError("its owner may not read it")
            if found.st_size > largest:
                raise PermissionError(f"larger than {largest} bytes")
            pieces = []
            while largest > 0 and (piece := os.read(handle, min(largest, 1 << 20))):
                pieces.append(piece)
                largest -= len(piece)
            return b"".join(pieces)
        finally:
            os.close(handle)


class _Folder:
    """The directory that a path ends in, opened, and the last component of the path."""

    def __init__(self, files: Files, path: bytes, make: bool = False) -> None:
        parts = files.parts(path)
        if not parts:
            raise PermissionError("is a directory")
        self.name = parts.pop()
        self.number = files.folder(parts, make)

    def __enter__(self) -> "_Folder":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.number)


def _open_regular(folder: int, name: bytes, flags: int) -> int:
    if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        raise PermissionError("is not a regular file")
    handle = os.open(name, flags | _FILE, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(handle).st_mode):  # a process that lives on may have changed it in between
        os.close(handle)
        raise PermissionError("is not a regular file")
    return handle


def _open_to_write(folder: int, name: bytes, executable: bool) -> "tuple[bool, int, int]":
    """Whether the file was there, the file, opened, and the mode it is to have."""
    try:
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE, 0o600, dir_fd=folder)
        return False, handle, 0o755 if executable else 0o644
    except FileExistsError:
        pass
    handle = _open_regular(folder, name, os.O_WRONLY)
    there = stat.S_IMODE(os.fstat(handle).st_mode)
    if not there & stat.S_IWUSR:
        os.close(handle)
        raise PermissionError("its owner may not write it")
    return True, handle, there | 0o111 if executable else there


def _write(handle: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(handle, view) :]


def _shown(path: bytes) -> str:
    return repr(path.decode("utf-8", "replace"))


def _refusal(path: bytes, error: Exception, missing: str) -> Refusal:
    """What to answer when the system said `error`; `missing` where something on the way is not a directory."""
    shown = _shown(path)
    if isinstance(error, FileNotFoundError):
        return Refusal("missing", f"{shown}: no such file or directory")
    if isinstance(error, NotADirectoryError):
        return Refusal(missing, f"{shown}: one on the way is not a directory")
    if isinstance(error, PermissionError):
        return Refusal("refused", f"{shown}: {error.strerror or error}")
    if isinstance(error, OSError):
        if error.errno in _BROKEN:
            return Refusal("broken", f"cannot serve {shown}: {error.strerror}")
        if error.errno in _FULL:
            return Refusal("refused", f"{shown}: the workspace is full")
        return Refusal(missing if error.errno == errno.ENAMETOOLONG else "refused", f"{shown}: {error.strerror}")
    return Refusal(missing, f"{shown}: not a file name")  # a NUL byte
