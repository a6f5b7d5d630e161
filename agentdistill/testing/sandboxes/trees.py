"""Whole trees go in and come out: bounded, without links or special files, and nowhere else than where they belong."""

from __future__ import annotations

from agentdistill.sandbox.base import SandboxFile
from agentdistill.testing.sandboxes.bench import Bench, one_line, refused, require
from agentdistill.testing.sandboxes.files import ODD_NAMES, REFUSED
from agentdistill.testing.sandboxes.programs import run_inside

# ---- programs --------------------------------------------------------------------------------------------------------


def _makes_tricky_tree() -> str:
    """What archives trick their readers with."""
    import os
    import socket

    os.makedirs("t/real")
    with open("t/real/file", "w") as file:
        file.write("content")
    os.link("t/real/file", "t/hard")
    os.symlink("/etc", "t/out")
    os.symlink("real", "t/in")
    os.symlink("/etc/passwd", "t/leaf")
    os.mkfifo("t/pipe")
    socket.socket(socket.AF_UNIX).bind("t/socket")
    for name, mode in (("setuid", 0o4755), ("closed", 0), ("plain", 0o644)):
        with open("t/" + name, "w") as file:
            file.write(name)
        os.chmod("t/" + name, mode)
    os.mkdir("t/empty")
    return "made"


def _makes_sparse_files(count: str, size: str) -> str:
    import os

    for number in range(int(count)):
        with open("sparse-" + str(number), "wb") as file:
            os.truncate(file.fileno(), int(size))
    return "made"


# ---- the checks ------------------------------------------------------------------------------------------------------


def tree_goes_in_and_comes_out(bench: Bench) -> str:
    """Many files go in at once and come out as they were: bytes, names, and which of them are programs."""
    sandbox = bench.sandbox()
    tree = {f"p{n % 7}/q{n % 3}/{n}": SandboxFile(bytes([n % 256]) * n, executable=n % 5 == 0) for n in range(300)}
    tree |= {f"odd/{name}": SandboxFile(name.encode(errors="replace")) for name in ODD_NAMES}
    sandbox.upload(tree, "deep/down")
    found = sandbox.download("deep/down")
    expected = {f"deep/down/{path}": file for path, file in tree.items()}
    require(found == expected, f"{len(found)} of {len(expected)} came out, or others")
    require(sandbox.exec(["test", "-x", "deep/down/p0/q0/0"]).exit_code == 0, "a program went in and is none")
    return f"{len(found)} files"


def uploaded_names_stay_inside(bench: Bench) -> None:
    """A name that would leave the directory or the workspace is refused: with `..`, absolute."""
    sandbox = bench.sandbox()
    for path in ("../x", "a/../../x", "/etc/x", "a\0b", "\ud800"):
        with refused(PermissionError, f"uploading {path!r}"):
            sandbox.upload({path: SandboxFile(b"planted")}, "d")
    for directory in ("..", "/etc", "a/../.."):
        with refused(PermissionError, f"uploading to {directory!r}"):
            sandbox.upload({"x": SandboxFile(b"planted")}, directory)
    require(all(path.startswith("d/") for path in sandbox.list_files()), f"there are {sandbox.list_files()}")


def uploads_do_not_go_through_links(bench: Bench) -> None:
    """A link that a command left where a tree is to go is not followed."""
    sandbox = bench.sandbox()
    sandbox.exec("mkdir d real; ln -s ../real d/link; ln -s /tmp outside; ln -s real/f d/leaf")
    for path in ("link/x", "leaf"):
        with refused(REFUSED, f"uploading {path!r}"):
            sandbox.upload({path: SandboxFile(b"planted")}, "d")
    with refused(REFUSED, "uploading into a link"):
        sandbox.upload({"x": SandboxFile(b"planted")}, "outside")
    require(sandbox.list_files("real") == [], "something was planted")


def upload_is_bounded(bench: Bench) -> str:
    """More than fits is refused, and leaves a sandbox that still works."""
    sandbox = bench.sandbox()
    with refused(PermissionError, "a file above the limit"):
        sandbox.upload({"x": SandboxFile(b"x" * (bench.limits.file_bytes + 1))})
    half = b"x" * (bench.limits.file_bytes // 2)
    count = 2 * bench.limits.workspace_bytes // len(half) + 1
    with refused(PermissionError, "more than the workspace holds"):
        sandbox.upload({str(number): SandboxFile(half) for number in range(count)})
    require(sandbox.exec(["echo", "alive"]).output == "alive\n", "the sandbox is of no use any more")
    return f"{len(sandbox.list_files())} of {count} were written"


def download_holds_regular_files_only(bench: Bench) -> str:
    """Links are not followed and not given, nor pipes, sockets, closed files; setuid bits are not told."""
    sandbox = bench.sandbox()
    made = run_inside(sandbox, _makes_tricky_tree)
    require(made.output.startswith("reached: "), f"it could not be made: {one_line(made.output)}")
    found = sandbox.download()
    expected = {
        "t/real/file": SandboxFile(b"content"),
        "t/hard": SandboxFile(b"content"),
        "t/setuid": SandboxFile(b"setuid", executable=True),
        "t/plain": SandboxFile(b"plain"),
    }
    require(found == expected, f"it holds {sorted(found)}")
    for path in ("t/out", "t/in", "..", "/etc", "t/../.."):
        with refused(REFUSED, f"downloading {path!r}"):
            sandbox.download(path)
    with refused(FileNotFoundError, "downloading what is not there"):
        sandbox.download("nowhere")
    return f"{len(found)} files"


def downloaded_names_stay_inside(bench: Bench) -> None:
    """No path that comes out is absolute or climbs, whatever the files are called."""
    sandbox = bench.sandbox()
    sandbox.upload({f"d/{name}": SandboxFile(b"") for name in (*ODD_NAMES, "..x", "...", "c:", "~")})
    for path in sandbox.download():
        parts = path.split("/")
        require(not path.startswith("/") and ".." not in parts and "" not in parts, f"it comes out as {path!r}")


def download_is_bounded(bench: Bench) -> str:
    """A tree that is larger than asked for, or says it is without taking any room, is refused before it is read."""
    sandbox = bench.sandbox()
    sandbox.upload({str(number): SandboxFile(b"x" * 1000) for number in range(20)})
    require(len(sandbox.download(largest=20_000)) == 20, "what fits is not given")
    with refused(PermissionError, "more than was asked for"):
        sandbox.download(largest=19_999)
    size = bench.limits.file_bytes
    made = run_inside(sandbox, _makes_sparse_files, str(2 * bench.limits.workspace_bytes // size + 1), str(size))
    require(made.output.startswith("reached: "), f"sparse files could not be made: {one_line(made.output)}")
    with refused(PermissionError, "more than a workspace may hold"):
        sandbox.download()
    return "sparse files count with the size they tell"
