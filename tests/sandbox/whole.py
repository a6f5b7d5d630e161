"""Anything that root may do to the file system of its container, and an independent look at it. Runs inside sandboxes.

As a program it does, as JSON in the file that its argument names, steps of `acts`, each in the directory it names, and
what only root can do; then it prints a digest of each thing that there is, with its owner.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import sys
from contextlib import suppress

NOT_KEPT = {"/proc", "/sys", "/dev", "/run/files", "/opt/agentdistill"}
PLACES = ["/etc", "/usr/local", "/var/lib/made", "/tmp", "/workspace", "/", "/bin"]


def act(place: str, what: str, path: bytes, *rest) -> None:
    """Do one thing, if it can be done."""
    full = os.path.join(os.fsencode(place), path)
    with suppress(OSError):
        os.makedirs(place, exist_ok=True)
        if what == "chown":
            os.chown(full, *rest, follow_symlinks=False)
        elif what == "chown image":
            os.chown(b"/bin/" + image_file(*rest), *rest, follow_symlinks=False)
        elif what == "remove image":
            os.unlink(b"/bin/" + image_file(*rest))
        elif what == "move image":
            os.rename(b"/bin/" + image_file(*rest), full)
        elif what == "link image":
            os.link(b"/bin/" + image_file(*rest), full)
        elif what == "write to image":
            with open(b"/bin/" + image_file(*rest), "r+b") as file:
                file.write(b"\x7fELF" + bytes(each % 256 for each in rest))
        elif what == "hosts":
            with open("/etc/hosts", "a") as file:
                file.write(f"10.0.0.{rest[0] % 200} made\n")
        elif what == "remove all":
            shutil.rmtree(full, ignore_errors=True)
        else:
            import acts

            acts.act(os.fsencode(place), what, path, *rest)


def image_file(number: int, _: int) -> bytes:
    names = [b"nice", b"paste", b"pinky", b"nl", b"od", b"uniq", b"wc", b"yes", b"tty", b"split"]
    return names[number % len(names)]


def told() -> dict[str, str]:
    """Everything there is, told independently of the code under test."""
    found: dict[str, str] = {}
    inodes: dict[tuple[int, int], list[str]] = {}
    for folder, folders, files in os.walk("/"):
        for name in list(folders):
            if os.path.join(folder, name) in NOT_KEPT:
                folders.remove(name)
        for name in [*folders, *files, *(["."] if folder == "/" else [])]:
            full = os.path.join(folder, name)
            info = os.lstat(full)
            content = b""
            if stat.S_ISLNK(info.st_mode):
                content = os.fsencode(os.readlink(full))
            elif stat.S_ISREG(info.st_mode):
                with open(full, "rb") as file:
                    content = file.read()
            found[full] = f"{info.st_mode:o} {info.st_uid} {info.st_gid} {hashlib.sha256(content).hexdigest()}"
            if not stat.S_ISDIR(info.st_mode):
                inodes.setdefault((info.st_dev, info.st_ino), []).append(full)
    for group in inodes.values():
        for path in group:
            found[path] += f" {sorted(group)}"
    return found


def main() -> None:
    sys.path.insert(0, "/run/files")
    with open(sys.argv[1]) as file:
        steps = json.load(file)
    for place, what, path, *rest in steps:
        act(
            place, what, bytes.fromhex(path), *(bytes.fromhex(each) if isinstance(each, str) else each for each in rest)
        )
    everything = told()
    for path in sorted(everything):
        if not path.startswith("/bin/") or steps == "all":
            print(ascii(path), everything[path])
    print(hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest())


if __name__ == "__main__":
    main()
