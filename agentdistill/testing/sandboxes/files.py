"""Files are read and written from outside, whatever a command left there: regular files of the workspace, no others."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Callable

from agentdistill.sandbox.base import Sandbox
from agentdistill.testing.sandboxes.bench import Bench, is_whole, one_line, refused, require, workspace_of
from agentdistill.testing.sandboxes.programs import run_inside

REFUSED = (PermissionError, FileNotFoundError)
NO_NAMES = ("file/x", "a\0b", "x" * 300, "\ud800")
ODD_NAMES = (
    "-rf",
    "new\nline",
    "ünï ☃",
    "\u202eevil",
    os.fsdecode(b"\xff\xfe"),
    " ",
    "a\\b",
    "x" * 255,
    "$(reboot)",
    "*",
)

# ---- programs --------------------------------------------------------------------------------------------------------


def _digest(path: str) -> str:
    import hashlib

    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def _makes_special_files() -> str:
    import os
    import socket

    os.mkfifo("pipe")
    os.mkdir("folder")
    socket.socket(socket.AF_UNIX).bind("socket")
    os.symlink("/dev/zero", "device")
    os.symlink("loop", "loop")
    return "made"


def _stretches(name: str, size: str) -> str:
    import os

    with open(name, "wb") as file:
        os.truncate(file.fileno(), int(size))
    return "stretched"


def _changes_for_ever(name: str) -> str:
    """A child that makes the file now a large one, now a small one, now a link, now a pipe."""
    import os

    if os.fork() != 0:
        return "started"
    os.setsid()
    while True:
        for act in ("large", "small", "link", "pipe"):
            new = name + ".new"
            try:
                if act == "link":
                    os.symlink("/etc/passwd", new)
                elif act == "pipe":
                    os.mkfifo(new)
                else:
                    with open(new, "wb") as file:
                        file.write(b"x" * (3_000_000 if act == "large" else 10))
                os.rename(new, name)
            except OSError:
                pass


# ---- what files are for ----------------------------------------------------------------------------------------------


def what_is_written_is_read(bench: Bench) -> None:
    """What is written from outside is read inside and the other way round, by either form of its path."""
    sandbox = bench.sandbox()
    content = bytes(range(256)) * 100
    sandbox.write_file("a/b/c.bin", content)
    said = run_inside(sandbox, _digest, "a/b/c.bin").output
    require(said.strip().endswith(hashlib.sha256(content).hexdigest()), "inside it is another")
    sandbox.exec("printf two > a/b/c.bin; ln -s c.bin a/b/link; mkdir a/empty")
    require(sandbox.read_file("a/b/c.bin") == b"two", "what was written inside is not read")
    require(
        sandbox.read_file(f"{workspace_of(sandbox)}/a//b/./c.bin") == b"two", "the other form of its path is not taken"
    )
    require(sandbox.list_files() == ["a/b/c.bin", "a/b/link"], f"listed: {sandbox.list_files()}")
    for place in ("a/b", f"{workspace_of(sandbox)}/a"):
        require(sandbox.list_files(place) == ["a/b/c.bin", "a/b/link"], f"listed: {sandbox.list_files(place)}")
    sandbox.remove_file("a/b/link")
    sandbox.remove_file("a/b/c.bin")
    require(sandbox.list_files() == [], "it is still there")


def file_can_be_made_executable(bench: Bench) -> None:
    """A file can be written as a program, and stays one when it is written again."""
    sandbox = bench.sandbox()
    for text in ("first", "second"):
        sandbox.write_file("run", f"#!/bin/sh\necho {text}\n".encode(), executable=text == "first")
        result = sandbox.exec(["./run"])
        require(result.output == f"{text}\n", f"it does not run: {one_line(result.output)}")


def missing_file_is_told(bench: Bench) -> None:
    """What is not there is a `FileNotFoundError`, also where one on the way is no directory or no name at all."""
    sandbox = bench.sandbox()
    sandbox.write_file("file", b"")
    acts: tuple[Callable[[str], object], ...] = (sandbox.read_file, sandbox.remove_file, sandbox.list_files)
    for path in ("none", "none/x", *NO_NAMES):
        for act in acts:
            with refused(FileNotFoundError, f"{path[:20]!r}"):
                act(path)


def what_cannot_be_a_file_is_not_written(bench: Bench) -> None:
    """A path that no file can have is refused: below a file, with a NUL byte, too long, no text at all."""
    sandbox = bench.sandbox()
    sandbox.write_file("file", b"")
    for path in NO_NAMES:
        with refused(PermissionError, f"writing {path[:20]!r}"):
            sandbox.write_file(path, b"")
    require(sandbox.list_files() == ["file"], f"there are {sandbox.list_files()}")


def odd_names_are_names(bench: Bench) -> None:
    """Names with newlines, leading dashes, blanks, bytes that are no text: written, listed, read and removed."""
    sandbox = bench.sandbox()
    for name in ODD_NAMES:
        sandbox.write_file(f"d/{name}", name.encode(errors="replace"))
    require(sandbox.list_files() == sorted(f"d/{name}" for name in ODD_NAMES), f"listed: {sandbox.list_files()}")
    for name in ODD_NAMES:
        require(sandbox.read_file(f"d/{name}") == name.encode(errors="replace"), f"{name!r} holds something else")
        sandbox.remove_file(f"d/{name}")
    require(sandbox.list_files() == [], "some are still there")


# ---- what they must not do -------------------------------------------------------------------------------------------


def paths_out_of_the_workspace_are_refused(bench: Bench) -> str:
    """No path leads out: not an absolute one, none with `..`, not the workspace itself."""
    sandbox = bench.sandbox()
    paths = (
        "/etc/passwd",
        "../x",
        "a/../../x",
        f"{workspace_of(sandbox)}/../etc/passwd",
        f"{workspace_of(sandbox)}x",
        "",
        ".",
        "/proc/self/environ",
    )
    for path in paths:
        for what, act in _acts(sandbox):
            with refused(PermissionError, f"{what} {path!r}"):
                act(path)
    return f"{len(paths)} paths"


def links_are_not_followed(bench: Bench) -> None:
    """A link in place of a file or of a directory on the way is refused, whether it leads anywhere or not."""
    sandbox = bench.sandbox()
    sandbox.exec("ln -s /etc/passwd file; ln -s /etc folder; ln -s new dangling; mkdir d; echo x > d/f; ln -s d inner")
    for path in ("file", "folder/passwd", "inner/f"):
        with refused(REFUSED, f"reading {path}"):
            sandbox.read_file(path)
    for path in ("file", "folder/planted", "dangling", "inner/x"):
        with refused(REFUSED, f"writing {path}"):
            sandbox.write_file(path, b"planted")
    for path in ("folder/passwd", "inner/f"):
        with refused(REFUSED, f"removing {path}"):
            sandbox.remove_file(path)
    with refused(REFUSED, "listing folder"):
        sandbox.list_files("folder")
    require(sandbox.list_files() == ["d/f", "dangling", "file", "folder", "inner"], f"there are {sandbox.list_files()}")
    sandbox.remove_file("file")
    require(sandbox.exec(["test", "-s", "/etc/passwd"]).exit_code == 0, "its target was removed")


def special_files_are_refused_at_once(bench: Bench) -> str:
    """Pipes, sockets, devices, loops and directories are refused without waiting for anybody."""
    sandbox = bench.sandbox()
    made = run_inside(sandbox, _makes_special_files)
    require(made.output.startswith("reached: "), f"they could not be made: {one_line(made.output)}")
    began = time.monotonic()
    for path in ("pipe", "socket", "folder", "device", "loop"):
        with refused(REFUSED, f"reading the {path}"):
            sandbox.read_file(path)
        with refused(REFUSED, f"writing the {path}"):
            sandbox.write_file(path, b"")
    with refused(PermissionError, "removing the folder"):
        sandbox.remove_file("folder")
    took = time.monotonic() - began
    require(took < 20, f"it took {took:.1f} s")
    return f"{took:.2f} s"


def closed_files_stay_closed(bench: Bench) -> None:
    """A file or a directory whose owner closed it is not read or written from outside either."""
    sandbox = bench.sandbox()
    sandbox.exec("echo x > f; chmod 0 f; mkdir d; echo y > d/f; chmod 0 d")
    for path in ("f", "d/f"):
        for what, act in _acts(sandbox)[:2]:
            with refused(REFUSED, f"{what} {path}"):
                act(path)


def large_files_are_refused(bench: Bench) -> str:
    """A file above the limit is neither read nor written, however little of the disk it takes; one at the limit is."""
    sandbox = bench.sandbox()
    limit = bench.limits.file_bytes
    sandbox.write_file("fits", b"x" * limit)
    require(len(sandbox.read_file("fits")) == limit, "a file at the limit is not read whole")
    with refused(PermissionError, "writing more than the limit"):
        sandbox.write_file("large", b"x" * (limit + 1))
    stretched = run_inside(sandbox, _stretches, "sparse", str(10 << 30))
    if stretched.output.startswith("stopped: "):
        return "a file of 10 GB cannot even be made"
    began = time.monotonic()
    with refused(PermissionError, "reading 10 GB"):
        sandbox.read_file("sparse")
    require(time.monotonic() - began < 20, "it was read before it was refused")
    return "a file of 10 GB is refused"


def file_that_changes_is_read_as_one(bench: Bench) -> str:
    """A file that a live process swaps for larger ones, links and pipes is read as one of its files, or refused."""
    sandbox = bench.sandbox()
    run_inside(sandbox, _changes_for_ever, "f")
    if not sandbox.processes().commands:
        return "no process lives between commands that could change it"
    read = 0
    over = time.monotonic() + 3
    while time.monotonic() < over:
        try:
            content = sandbox.read_file("f")
        except OSError:
            continue
        require(content in (b"x" * 10, b"x" * 3_000_000), f"{len(content)} bytes of something else")
        read += 1
    return f"read {read} times"


def workspace_cannot_be_swapped(bench: Bench) -> str:
    """The workspace and a directory in it, replaced by links between two steps, do not lead anywhere else."""
    sandbox = bench.sandbox()
    workspace = workspace_of(sandbox)
    sandbox.write_file("d/passwd", secrets.token_bytes(8))
    sandbox.exec("rm -r d; ln -s /etc d")
    with refused(REFUSED, "reading through the directory"):
        sandbox.read_file("d/passwd")
    with refused(REFUSED, "writing through the directory"):
        sandbox.write_file("d/planted", b"")
    said = sandbox.exec(
        f"cd /; mv {workspace} {workspace}-old; rmdir {workspace} && ln -s /etc {workspace}; ls -d {workspace}-old"
    ).output
    with refused(REFUSED, "reading through the workspace"):
        sandbox.read_file("passwd")
    # Where the whole file system is kept, root may move it away, and there is an empty one in its place.
    moved = is_whole(sandbox) and said.endswith(f"{workspace}-old\n")
    expected = [] if moved else ["d"]
    require(sandbox.list_files() == expected, f"listed: {sandbox.list_files()}")
    require(sandbox.exec(f"cd {workspace} && pwd -P").output == f"{workspace}\n", "the workspace leads elsewhere")
    return one_line(said.splitlines()[-1] if said else "")


def _acts(sandbox: Sandbox) -> tuple[tuple[str, Callable[[str], object]], ...]:
    return (
        ("reading", sandbox.read_file),
        ("writing", lambda path: sandbox.write_file(path, b"")),
        ("removing", sandbox.remove_file),
    )
