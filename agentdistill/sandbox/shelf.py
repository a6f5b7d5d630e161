"""Files shown read-only to commands, laid once and used again: the same scripts run in sandbox after sandbox."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agentdistill.sandbox.confinement import FILES
from agentdistill.sandbox.files import WorkspaceFiles
from agentdistill.sandbox.trees import remove

_KEPT = 8


@dataclass
class _Laid:
    folder: Path
    users: int = 0


class Shelf:
    """Folders of files by their content. Thread-safe. Nothing but a read-only view of them is ever given to a command.

    Args:
        folder: where they lie; made when it is first needed.
        kept: folders kept although nobody uses them now, the last ones used.
    """

    def __init__(self, folder: Path, kept: int = _KEPT) -> None:
        self._folder = folder
        self._kept = kept
        self._lock = threading.Lock()
        self._laid: OrderedDict[bytes, _Laid] = OrderedDict()
        self._numbers = itertools.count(1)

    @contextmanager
    def lay(self, files: Mapping[str, bytes]) -> Iterator[Path]:
        """A folder that holds exactly `files`, by relative path, while the context lasts.

        Raises:
            PermissionError: a name leaves the folder or is none.
        """
        key = _key(files)
        with self._lock:
            laid = self._laid.get(key)
            if laid is None:
                laid = self._laid[key] = _Laid(self._write(files))
            self._laid.move_to_end(key)
            laid.users += 1
        try:
            yield laid.folder
        finally:
            with self._lock:
                laid.users -= 1
                unused = [key for key, each in self._laid.items() if not each.users]
                surplus = [self._laid.pop(key) for key in unused[: max(0, len(self._laid) - self._kept)]]
            for each in surplus:
                remove(str(each.folder))

    def _write(self, files: Mapping[str, bytes]) -> Path:
        folder = self._folder / str(next(self._numbers))
        folder.mkdir(mode=0o755, parents=True)
        try:
            laid = WorkspaceFiles(str(folder), FILES, max(map(len, files.values()), default=0))
            for name, content in files.items():
                laid.write(name, content, executable=True)
        except BaseException:
            remove(str(folder))
            raise
        return folder


def _key(files: Mapping[str, bytes]) -> bytes:
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        encoded = name.encode(errors="surrogatepass")
        digest.update(b"%d %d " % (len(encoded), len(content)) + encoded + content)
    return digest.digest()
