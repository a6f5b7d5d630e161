"""A world with one of everything in it, a way to change all of it, and a way to tell it that is not what is checked."""

from __future__ import annotations

from agentdistill.sandbox.base import Sandbox
from agentdistill.testing.sandboxes.bench import one_line, require
from agentdistill.testing.sandboxes.programs import Program, run_inside


def describes() -> str:
    """Everything there is below the working directory, told by walking over it: no part of what is checked."""
    import hashlib
    import os
    import stat

    found = []
    groups: dict[tuple[int, int], list[str]] = {}
    for folder, folders, files in os.walk(b"."):
        for name in sorted(folders + files) + ([b"."] if folder == b"." else []):
            path = os.path.join(folder, name)
            info = os.lstat(path)
            what = ""
            if stat.S_ISLNK(info.st_mode):
                what = os.readlink(path).hex()
            elif stat.S_ISREG(info.st_mode):
                try:
                    with open(path, "rb") as file:
                        what = hashlib.sha256(file.read()).hexdigest()
                except OSError:
                    what = "closed"
            if not stat.S_ISDIR(info.st_mode):
                groups.setdefault((info.st_dev, info.st_ino), []).append(path.hex())
                what += " of " + " ".join(sorted(groups[info.st_dev, info.st_ino]))
            found.append(path.hex() + " " + oct(info.st_mode) + " " + what)
    return "\n".join(sorted(found))


def builds() -> str:
    """A world with one of everything."""
    import os
    import socket

    os.makedirs("d/e/empty")
    names = [b"plain", b"-rf", b"new\nline", b"\xff\xfe", b" ", b"d/inner", b".hidden"]
    for number, name in enumerate(names):
        with open(name, "wb") as file:
            file.write(name * 100 * number)
    with open("large", "wb") as large:
        large.write(os.urandom(1 << 20))
    os.link("plain", "d/hard")
    os.link("plain", "d/e/hard")
    os.symlink("/etc/passwd", "link")
    os.symlink(b"\xff", "odd-link")
    os.symlink("nowhere", "d/dangling")
    os.mkfifo("pipe")
    socket.socket(socket.AF_UNIX).bind("socket")
    os.chmod("plain", 0o4711)
    os.chmod("large", 0o400)
    os.chmod("d/e", 0o2775)
    os.mkdir("closed")
    os.chmod("closed", 0)
    os.chmod(".", 0o750)
    return "built"


def wrecks() -> str:
    """Change everything: content, kinds, modes, names, what is linked to what."""
    import os

    os.chmod(".", 0o755)
    os.chmod("closed", 0o700)
    os.rmdir("closed")
    with open("closed", "w") as file:
        file.write("a file now")
    os.unlink("d/hard")
    with open("d/hard", "w") as file:
        file.write("a file of its own")
    os.unlink("link")
    os.mkdir("link")
    os.rename("d/e", "moved")
    os.rmdir("moved/empty")
    os.chmod("large", 0o644)
    with open("large", "r+b") as large:
        large.seek(500_000)
        large.write(b"changed")
    os.unlink("pipe")
    os.link("-rf", "pipe")
    os.unlink(b"\xff\xfe")
    os.mkdir("d/new")
    with open("d/new/file", "w") as file:
        file.write("new")
    return "wrecked"


def do(sandbox: Sandbox, program: Program, *arguments: str) -> None:
    """Run a program that must work."""
    result = run_inside(sandbox, program, *arguments)
    require(result.output.startswith("reached: "), f"the world could not be made: {one_line(result.output)}")


def told(sandbox: Sandbox) -> str:
    """The world in a sandbox, as `describes` tells it."""
    result = run_inside(sandbox, describes)
    require(result.output.startswith("reached: ") and not result.truncated, f"not told: {one_line(result.output)}")
    return result.output


def same_world(found: str, expected: str) -> None:
    """See that two worlds, as they were told, are the same."""
    differences = sorted(set(found.splitlines()) ^ set(expected.splitlines()))
    require(not differences, f"{len(differences)} differences, the first at {one_line(differences[:2])}")
