"""What programs do to trees, and an independent look at them. Runs inside sandboxes too: standard library only.

As a program it does in the working directory what the file that its argument names says, as JSON, and prints what is
there then.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import stat
import sys
from contextlib import suppress


def act(root: bytes, what: str, path: bytes, *rest) -> None:
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
                os.chmod(full, rest[0] if may_do_anything() else rest[0] | 0o700)  # the test itself must see it
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


def walk(root: bytes) -> dict[bytes, tuple]:
    """Everything there is, told independently of the code under test."""
    found: dict[bytes, tuple] = {}
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
                with open(full, "rb") as file:
                    content = file.read()
            found[path] = (kind, stat.S_IMODE(info.st_mode), content)
            if kind != stat.S_IFDIR:
                inodes.setdefault(info.st_ino, set()).add(path)
    for group in inodes.values():
        for path in group:
            found[path] += (frozenset(group),)
    return found


def may_do_anything() -> bool:
    with open("/proc/self/status") as status:
        return any(line.startswith("CapEff:") and int(line.split()[1], 16) & 2 for line in status)


def main() -> None:
    with open(sys.argv[1]) as file:
        listed = json.load(file)
    for what, *rest in listed:
        act(b".", what, *(bytes.fromhex(each) if isinstance(each, str) else each for each in rest))
    for path, (kind, mode, content, *group) in sorted(walk(b".").items()):
        names = sorted(name.hex() for name in group[0]) if group else []
        print(path.hex(), oct(kind | mode), hashlib.sha256(content).hexdigest(), *names)


if __name__ == "__main__":
    main()
