"""Directory trees, exactly: looking at one, making one over into another, and removing one, however hostile.

Nothing runs in a workspace while it is looked at or changed (a command is over only when its last process is
dead), so what was a directory a moment ago still is one. Its owner may have taken away its own permissions; they
are lent back while we look. Kept: files with content and mode, directories (empty ones too), symbolic and hard
links, and FIFOs, sockets and whiteouts as such. Not kept: times, extended attributes, holes in sparse files.
"""

from __future__ import annotations

import os
import secrets
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Kind = Literal["directory", "file", "link", "fifo", "socket", "whiteout", "same"]

# A workspace may lie deeper on another machine, and the kernel takes 4096 bytes in all.
LONGEST_PATH = 3000
# A file changed this shortly before it was read may change again without its ctime showing it: kernels stamp by
# the tick, which is 1 to 10 ms.
_UNSETTLED_NS = 20_000_000
_SPECIAL: Mapping[str, int] = {"fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK, "whiteout": stat.S_IFCHR}


class Entry(NamedTuple):
    """One thing in a tree. `path` is relative, ``.`` for the root; names that are not UTF-8 are surrogate-escaped.

    `value` is the SHA-256 of a file's content, the target of a link, or, for `same`, the first path in order
    that this is another name (hard link) of.
    """

    path: str
    kind: Kind
    mode: int = 0
    value: str = ""


@dataclass
class Memory:
    """What the last look at a tree found: inode and ctime vouch for a file's content, never mtime and size.

    `trusts_ctime` is false on a filesystem where writing through a memory map does not show in the ctime (tmpfs):
    every file is then read every time.
    """

    trusts_ctime: bool = True
    seen: dict[str, tuple[tuple[int, int, int], str]] = field(default_factory=dict)


def look(root: str, memory: Memory, keep: Callable[[str], str]) -> tuple[Entry, ...]:
    """Everything in a tree, sorted by path. Devices and what lies deeper than `LONGEST_PATH` are removed from it.

    Args:
        root: path of the tree.
        memory: what is known of this tree; brought up to date.
        keep: reads the file at a path and returns the SHA-256 of its content.
    """
    settled = time.time_ns() - _UNSETTLED_NS
    entries: list[Entry] = []
    leaves: list[tuple[str, str, os.stat_result]] = []
    lent: list[tuple[str, int]] = []
    folders = [("", root, stat.S_IMODE(os.lstat(root).st_mode))]
    try:
        while folders:
            prefix, folder, mode = folders.pop()
            entries.append(Entry(prefix.removesuffix("/") or ".", "directory", mode))
            _lend(folder, mode, 0o700, lent)
            with os.scandir(folder) as items:
                for item in items:
                    path, found = prefix + item.name, item.stat(follow_symlinks=False)
                    if len(os.fsencode(path)) > LONGEST_PATH or _kind(found) is None:
                        remove(item.path)
                    elif stat.S_ISDIR(found.st_mode):
                        folders.append((path + "/", item.path, stat.S_IMODE(found.st_mode)))
                    else:
                        leaves.append((path, item.path, found))
        leaves.sort()
        entries += _leaves(leaves, memory, keep, settled, lent)
    finally:
        for path, mode in reversed(lent):
            os.chmod(path, mode)
    entries.sort()
    return tuple(entries)


def make_over(root: str, current: Sequence[Entry], target: Sequence[Entry], fetch: Callable[[str, str], None]) -> None:
    """Turn the tree `current` at `root` into `target`, touching only what differs.

    Args:
        root: path of the tree.
        current: what `look` found there.
        target: what it is to be.
        fetch: writes the content with a given SHA-256 to a new file at a path.
    """
    have, want = _identities(current), _identities(target)
    modes = {entry.path: entry.mode for entry in current}
    for entry in current:
        if entry.kind == "directory":
            _lend(os.path.join(root, entry.path), entry.mode, 0o700, [])
    for entry in reversed(current):
        if have[entry.path] != want.get(entry.path):
            del modes[entry.path]
            full = os.path.join(root, entry.path)
            os.rmdir(full) if entry.kind == "directory" else os.unlink(full)
    for entry in target:
        full = os.path.join(root, entry.path)
        if entry.path not in modes:
            _make(root, full, entry, fetch)
        if entry.kind not in ("directory", "link", "same") and modes.get(entry.path) != entry.mode:
            os.chmod(full, entry.mode)
    for entry in reversed(target):
        # Inside out: a directory may close the way to those within.
        full = os.path.join(root, entry.path)
        if entry.kind == "directory" and stat.S_IMODE(os.lstat(full).st_mode) != entry.mode:
            os.chmod(full, entry.mode)


def remove(path: str) -> None:
    """Remove whatever is at `path`, links not followed. What is gone already, at the start or on the way, is no error.

    Directories within are first moved to the top, so that neither depth nor length of path matters.
    """
    with suppress(FileNotFoundError):
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
        _empty(path)
        os.rmdir(path)


def _empty(path: str) -> None:
    moved = os.path.join(path, f".removed-{secrets.token_hex(8)}-")
    count = 0
    os.chmod(path, 0o700)
    folders = [path]
    while folders:
        folder = folders.pop()
        with suppress(FileNotFoundError):
            with os.scandir(folder) as scan:
                items = [(item.path, item.is_dir(follow_symlinks=False)) for item in scan]
            for full, is_folder in items:
                with suppress(FileNotFoundError):
                    if not is_folder:
                        os.unlink(full)
                        continue
                    os.chmod(full, 0o700)
                    if folder != path:
                        count += 1
                        os.rename(full, full := f"{moved}{count}")
                    folders.append(full)
            if folder != path:
                os.rmdir(folder)


def _kind(found: os.stat_result) -> Kind | None:
    """What it is; `None` for a device, which nobody without privileges can make again."""
    mode = found.st_mode
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    if stat.S_ISLNK(mode):
        return "link"
    if stat.S_ISFIFO(mode):
        return "fifo"
    if stat.S_ISSOCK(mode):
        return "socket"
    return "whiteout" if stat.S_ISCHR(mode) and found.st_rdev == 0 else None


def _leaves(
    leaves: Sequence[tuple[str, str, os.stat_result]],
    memory: Memory,
    keep: Callable[[str], str],
    settled: int,
    lent: list[tuple[str, int]],
) -> list[Entry]:
    entries: list[Entry] = []
    first_names: dict[int, str] = {}
    seen: dict[str, tuple[tuple[int, int, int], str]] = {}
    for path, full, found in leaves:
        kind, mode = _kind(found), stat.S_IMODE(found.st_mode)
        assert kind is not None
        if found.st_nlink > 1 and first_names.setdefault(found.st_ino, path) != path:
            entries.append(Entry(path, "same", 0, first_names[found.st_ino]))
        elif kind == "link":
            entries.append(Entry(path, kind, 0, os.readlink(full)))
        elif kind == "file":
            mark = (found.st_ino, found.st_ctime_ns, found.st_size)
            known = memory.seen.get(path)
            if known is not None and known[0] == mark:
                digest = known[1]
            else:
                _lend(full, mode, 0o400, lent)
                digest = keep(full)
            if memory.trusts_ctime and found.st_ctime_ns < settled:
                seen[path] = (mark, digest)
            entries.append(Entry(path, kind, mode, digest))
        else:
            entries.append(Entry(path, kind, mode))
    memory.seen = seen
    return entries


def _lend(path: str, mode: int, needed: int, lent: list[tuple[str, int]]) -> None:
    if mode & needed != needed:
        lent.append((path, mode))
        os.chmod(path, mode | needed)


def _identities(entries: Sequence[Entry]) -> dict[str, object]:
    """What makes an entry the same one in two trees. Mode is left out: it can be changed in place.

    All names of one inode stand together: to split or join them, they are made anew.
    """
    names: dict[str, list[str]] = {}
    for entry in entries:
        names.setdefault(entry.value if entry.kind == "same" else entry.path, []).append(entry.path)
    firsts = {entry.path: entry for entry in entries if entry.kind != "same"}
    identities: dict[str, object] = {}
    for first, group in names.items():
        identity = (firsts[first].kind, firsts[first].value, tuple(group))
        identities.update(dict.fromkeys(group, identity))
    return identities


def _make(root: str, full: str, entry: Entry, fetch: Callable[[str, str], None]) -> None:
    if entry.kind == "directory":
        os.mkdir(full, 0o700)
    elif entry.kind == "file":
        fetch(entry.value, full)
    elif entry.kind == "link":
        os.symlink(entry.value, full)
    elif entry.kind == "same":
        os.link(os.path.join(root, entry.value), full, follow_symlinks=False)
    else:
        os.mknod(full, _SPECIAL[entry.kind] | 0o600)
