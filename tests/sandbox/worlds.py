"""Trees that change at random, an independent look at them, and an agent without a sandbox."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from agentdistill.sandbox.inside import wire
from agentdistill.sandbox.inside.trees import Workspace

NAMES = [b"a", b"b", b"a.b", b"-rf", b"new\nline", b"\xff\xfe", "ünï".encode(), b".hidden", b"n" * 255]
PATHS = [
    b"/".join(parts)
    for parts in [(x,) for x in NAMES]
    + [(x, y) for x in NAMES[:3] for y in NAMES]
    + [(x, y, z) for x in NAMES[:2] for y in NAMES[:3] for z in NAMES[:4]]
]
MODES = [0o644, 0o755, 0o600, 0o000, 0o4711, 0o2775, 0o1777, 0o500]
A_PATH = st.sampled_from(PATHS)
CONTENT = st.sampled_from([b"", b"one", b"two", b"x" * 5000, bytes(600_000), b"y" * 300_000 + bytes(300_000)])
ACTS = st.one_of(
    st.tuples(st.just("write"), A_PATH, CONTENT),
    st.tuples(st.just("write"), A_PATH, CONTENT),
    st.tuples(st.just("append"), A_PATH),
    st.tuples(st.just("edit behind the back"), A_PATH),
    st.tuples(st.just("write through a map"), A_PATH),
    st.tuples(st.just("delete"), A_PATH),
    st.tuples(st.just("rename"), A_PATH, A_PATH),
    st.tuples(st.just("exchange"), A_PATH, A_PATH),
    st.tuples(st.just("chmod"), A_PATH, st.sampled_from(MODES)),
    st.tuples(st.just("symlink"), A_PATH, st.sampled_from([b"a", b"/etc/passwd", b"\xff", b"nowhere", b"t" * 4000])),
    st.tuples(st.just("link"), A_PATH, A_PATH),
    st.tuples(st.just("move by link and edit"), A_PATH, A_PATH),
    st.tuples(st.just("edit through a name that goes"), A_PATH, A_PATH),
    st.tuples(st.just("edit in a directory that goes"), A_PATH, A_PATH),
    st.tuples(st.just("chmod through a name that goes"), A_PATH, A_PATH),
    st.tuples(st.just("replace"), A_PATH, A_PATH),
    st.tuples(st.just("make a directory anew"), A_PATH),
    st.tuples(st.just("mkdir"), A_PATH),
    st.tuples(st.just("mkdir"), A_PATH),
    st.tuples(st.just("fifo"), A_PATH),
    st.tuples(st.just("socket"), A_PATH),
)


def act(root: bytes, what: str, path: bytes, *rest: Any) -> None:
    """Do one thing to the tree, if it can be done."""
    full = os.path.join(root, path)
    try:
        if what == "write":
            if not os.path.lexists(full) or stat.S_ISREG(os.lstat(full).st_mode):
                with open(full, "wb") as file:
                    file.write(rest[0])
        elif what == "append":
            if stat.S_ISREG(os.lstat(full).st_mode):
                with open(full, "ab") as file:
                    file.write(b"more")
        elif what == "edit behind the back":
            edit(full)
        elif what == "write through a map":
            write_through_a_map(full)
        elif what == "delete":
            is_folder = os.path.isdir(full) and not os.path.islink(full)
            os.rmdir(full) if is_folder else os.unlink(full)
        elif what == "rename":
            os.rename(full, os.path.join(root, rest[0]))
        elif what == "exchange":
            there, beside = os.path.join(root, rest[0]), os.path.join(root, b"beside")
            os.lstat(there)
            os.rename(full, beside)
            os.rename(there, full)
            os.rename(beside, there)
        elif what == "chmod":
            if not os.path.islink(full):
                os.chmod(full, rest[0] if os.geteuid() == 0 else rest[0] | 0o700)  # the test itself must see it
        elif what == "symlink":
            os.symlink(rest[0], full)
        elif what == "link":
            os.link(full, os.path.join(root, rest[0]), follow_symlinks=False)
        elif what == "move by link and edit":
            other = os.path.join(root, rest[0])
            os.link(full, other, follow_symlinks=False)
            write_through_a_map(other)
            os.unlink(full)
        elif what == "edit through a name that goes":
            other = os.path.join(root, rest[0])
            os.link(full, other, follow_symlinks=False)
            write_through_a_map(other)
            os.unlink(other)
        elif what == "edit in a directory that goes":
            folder = os.path.join(root, rest[0])
            os.mkdir(folder)
            with suppress(OSError):
                os.link(full, os.path.join(folder, b"other"), follow_symlinks=False)
                write_through_a_map(os.path.join(folder, b"other"))
                os.unlink(os.path.join(folder, b"other"))
            os.rmdir(folder)
        elif what == "chmod through a name that goes":
            other = os.path.join(root, rest[0])
            os.link(full, other, follow_symlinks=False)
            if not os.path.islink(other):
                os.chmod(other, stat.S_IMODE(os.lstat(other).st_mode) ^ 0o111)
            os.unlink(other)
        elif what == "replace":
            other = os.path.join(root, rest[0])
            with open(other, "xb") as file:
                file.write(b"replaced")
            os.rename(other, full)
        elif what == "make a directory anew":
            os.rmdir(full)
            os.mkdir(full, 0o750)
        elif what == "mkdir":
            os.mkdir(full)
        elif what == "fifo":
            os.mkfifo(full)
        elif what == "socket":
            os.mknod(full, stat.S_IFSOCK | 0o600)
    except OSError:
        pass  # not possible in this tree, as for a program


def edit(full: bytes) -> None:
    """Change the first byte of a file and put its time back."""
    before = os.lstat(full)
    if stat.S_ISREG(before.st_mode) and before.st_size:
        with open(full, "rb+") as file:
            first = file.read(1)
            file.seek(0)
            file.write(b"1" if first != b"1" else b"2")
        os.utime(full, ns=(before.st_atime_ns, before.st_mtime_ns))


def write_through_a_map(full: bytes) -> None:
    """Change the last byte of a file; on tmpfs none of its times tells."""
    before = os.lstat(full)
    if stat.S_ISREG(before.st_mode) and before.st_size:
        with open(full, "rb+") as file, mmap.mmap(file.fileno(), before.st_size) as mapped:
            mapped[-1] = (mapped[-1] + 1) % 256


def walk(root: bytes) -> dict[bytes, tuple[Any, ...]]:
    """Everything there is, told independently of the code under test."""
    found: dict[bytes, tuple[Any, ...]] = {}
    inodes: dict[int, set[bytes]] = {}
    for folder, folders, files in os.walk(root):
        for name in [b".", *folders, *files] if folder == root else [*folders, *files]:
            full = os.path.join(folder, name)
            info = os.lstat(full)
            path = os.path.relpath(full, root)
            kind = stat.S_IFMT(info.st_mode)
            content = b""
            if stat.S_ISLNK(info.st_mode):
                content = os.readlink(full)
            elif stat.S_ISREG(info.st_mode):
                content = Path(os.fsdecode(full)).read_bytes()
            found[path] = (kind, stat.S_IMODE(info.st_mode), content)
            if kind != stat.S_IFDIR:
                inodes.setdefault(info.st_ino, set()).add(path)
    for group in inodes.values():
        for path in group:
            found[path] += (frozenset(group),)
    return found


class LocalAgent:
    """Asks a `Workspace` of this process as a host asks the agent inside; frames and heads go through their encoding.

    `asked` lists the requests, `sent` and `received` count the bytes of bodies.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.workspace = Workspace(os.fsencode(root))
        self.living: list[int] = []
        self.asked: list[dict[str, Any]] = []
        self.sent = self.received = 0

    def __call__(
        self, request: Mapping[str, Any], body: Iterable[bytes] = (), size: int = 0, *, largest: int = 0
    ) -> tuple[dict[str, Any], bytes]:
        head = wire.loads(wire.dumps(dict(request)))
        self.asked.append(head)
        content = memoryview(b"".join(body))
        assert len(content) == size
        self.sent += size
        at = 0

        def receive(most: int) -> bytes:
            nonlocal at
            piece = bytes(content[at : at + most])
            at += len(piece)
            return piece

        stream = wire.Body(receive, size)
        if head["do"] == "look":
            reply, length, parts = self.workspace.look(head, stream, self.living)
        else:
            reply, length, parts = getattr(self.workspace, head["do"])(head, stream)
        assert stream.left == 0
        answer = b"".join(parts)
        assert len(answer) == length <= largest
        self.received += length
        return wire.loads(wire.dumps(reply)), answer

    def close(self) -> None:
        self.workspace.close()
