"""File operations from the host side, on whatever a hostile command left in the workspace."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agentdistill.sandbox.base import Limits, SandboxFile
from agentdistill.sandbox.bubblewrap import BubblewrapBackend


def test_what_is_written_is_read_on_both_sides(sandbox):
    sandbox.write_file("a/b/c.txt", b"one")
    assert sandbox.exec(["cat", "a/b/c.txt"]).output == "one"
    sandbox.exec("echo two > a/b/c.txt; ln -s c.txt a/b/link")
    assert sandbox.read_file("a/b/c.txt") == b"two\n"
    assert sandbox.read_file("/workspace/a//b/./c.txt") == b"two\n"
    assert sandbox.list_files() == ["a/b/c.txt", "a/b/link"]
    assert sandbox.list_files("a") == ["a/b/c.txt", "a/b/link"]
    sandbox.remove_file("a/b/link")
    assert sandbox.list_files("/workspace/a/b") == ["a/b/c.txt"]


def test_a_file_can_be_made_executable_and_keeps_its_mode(sandbox):
    sandbox.write_file("run", b"#!/bin/sh\necho ran\n", executable=True)
    assert sandbox.exec(["./run"]).output == "ran\n"
    sandbox.write_file("run", b"#!/bin/sh\necho again\n")
    assert sandbox.exec(["./run"]).output == "again\n"


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x", "a/../../x", "/workspace/../etc/passwd", "/workspacex", "", "."]
)
def test_a_path_that_leaves_the_workspace_is_refused(sandbox, path):
    for act in (sandbox.read_file, sandbox.remove_file, lambda path: sandbox.write_file(path, b"")):
        with pytest.raises(PermissionError):
            act(path)


def test_no_link_leads_out_of_the_workspace(sandbox, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    sandbox.exec(f"ln -s {secret} file; ln -s {tmp_path} folder; ln -s {tmp_path}/new new; mkdir d; ln -s d inner")
    for path in ("file", "folder/secret"):
        with pytest.raises(PermissionError):
            sandbox.read_file(path)
    for path in ("file", "folder/planted", "new", "inner/x"):
        with pytest.raises(PermissionError):
            sandbox.write_file(path, b"planted")
    with pytest.raises(PermissionError):
        sandbox.remove_file("folder/secret")
    with pytest.raises((PermissionError, FileNotFoundError)):
        sandbox.list_files("folder")
    sandbox.remove_file("file")
    assert secret.read_text() == "s3cret"
    assert os.listdir(tmp_path) == ["secret"]
    assert sandbox.list_files() == ["folder", "inner", "new"]


def test_pipes_sockets_and_directories_are_refused_without_waiting(sandbox):
    sandbox.exec(["mkfifo", "pipe"])
    make = "import socket; socket.socket(socket.AF_UNIX).bind('socket')"
    sandbox.exec([sandbox.python, "-I", "-c", make])
    sandbox.exec(["mkdir", "folder"])
    for path in ("pipe", "socket", "folder"):
        with pytest.raises(PermissionError):
            sandbox.read_file(path)
        with pytest.raises(PermissionError):
            sandbox.write_file(path, b"")
    with pytest.raises(PermissionError):
        sandbox.remove_file("folder")


@pytest.mark.parametrize("path", ["none", "none/x", "file/x", "a\0b", "x" * 300, "\ud800"])
def test_what_is_not_there_is_a_missing_file(sandbox, path):
    sandbox.write_file("file", b"")
    with pytest.raises(FileNotFoundError):
        sandbox.read_file(path)
    with pytest.raises(FileNotFoundError):
        sandbox.remove_file(path)
    if path != "none":
        with pytest.raises(FileNotFoundError):
            sandbox.list_files(path)


@pytest.mark.parametrize("path", ["file/x", "a\0b", "x" * 300, "\ud800"])
def test_what_cannot_be_a_file_is_not_written(sandbox, path):
    sandbox.write_file("file", b"")
    with pytest.raises(PermissionError):
        sandbox.write_file(path, b"")


def test_a_file_its_owner_closed_stays_closed(sandbox):
    sandbox.exec("echo x > f; chmod 0 f; mkdir d; echo y > d/f; chmod 0 d")
    for path in ("f", "d/f"):
        with pytest.raises(PermissionError):
            sandbox.read_file(path)
        with pytest.raises(PermissionError):
            sandbox.write_file(path, b"")


def test_a_file_larger_than_the_limit_is_neither_read_nor_written(tmp_path):
    with BubblewrapBackend(tmp_path, Limits(file_bytes=1000)) as backend, backend.create() as sandbox:
        sandbox.write_file("f", b"x" * 1000)
        assert len(sandbox.read_file("f")) == 1000
        with pytest.raises(PermissionError, match="larger"):
            sandbox.write_file("g", b"x" * 1001)
        assert sandbox.exec("truncate -s 1T sparse").exit_code != 0


def test_a_workspace_that_is_full_refuses_what_does_not_fit_and_goes_on(tmp_path):
    limits = Limits(workspace_bytes=1 << 20)
    with BubblewrapBackend(tmp_path, limits) as backend, backend.create() as sandbox:
        with pytest.raises(PermissionError, match="together"):
            sandbox.write_file("large", bytes(2 << 20))
        flooded = sandbox.exec("head -c 3000000 /dev/zero > flood")
        assert "No space left" in flooded.output
        assert flooded.exceeded == "workspace"
        with pytest.raises(PermissionError, match="full"):
            sandbox.write_file("more", b"x" * 100)
        sandbox.remove_file("flood")
        sandbox.write_file("more", b"x" * 100)
        assert sandbox.read_file("more") == b"x" * 100


def test_odd_names_are_handled_as_any_other(sandbox):
    for name in ("-rf", "new\nline", "ünï", os.fsdecode(b"\xff\xfe"), " "):
        sandbox.write_file(f"d/{name}", b"x")
        assert sandbox.read_file(f"d/{name}") == b"x"
    assert len(sandbox.list_files()) == 5


def test_a_tree_deeper_than_any_path_can_be_listed_and_removed(backend):
    with backend.create() as sandbox:
        dig = "import os\nfor i in range(1200): os.mkdir('deep'); os.chdir('deep')\nopen('end', 'w')"
        assert sandbox.exec([sandbox.python, "-I", "-c", dig]).exit_code == 0
        sandbox.list_files()
        kept = sandbox.snapshot()
        assert sandbox.snapshot() == kept
        sandbox.exec([sandbox.python, "-I", "-c", dig])


def alive_in(folder: Path) -> list[Path]:
    return [path for path in (folder / "live").iterdir() if path.is_dir()]


def running(mark: str) -> bool:
    """Whether a process of this machine has `mark` in its command line."""
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in place.read_bytes():
                return True
        except OSError:
            continue
    return False


def until(condition, seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def test_what_a_killed_process_left_is_reaped_and_its_commands_die_with_it(tmp_path):
    nap = f"sleep 15.{time.monotonic_ns()}"
    code = (
        "import sys; from pathlib import Path; from agentdistill.sandbox.bubblewrap import BubblewrapBackend\n"
        "sandbox = BubblewrapBackend(Path(sys.argv[1])).create(); sandbox.exec('mkdir -m 0 closed')\n"
        "print(sandbox.snapshot(), flush=True); sandbox.exec(sys.argv[2])"
    )
    line = [sys.executable, "-c", code, str(tmp_path), f"setsid {nap} & trap '' TERM; {nap}"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    snapshot = process.stdout.readline().strip()
    (left,) = alive_in(tmp_path)
    assert until(lambda: running(nap.replace(" ", "\0")))
    with BubblewrapBackend(tmp_path) as living:
        living.create()
        assert left in alive_in(tmp_path), "a folder in use is left alone"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert until(lambda: not running(nap.replace(" ", "\0")), 5)
    with BubblewrapBackend(tmp_path) as backend:
        with backend.create(snapshot) as sandbox:
            assert sandbox.exec("ls -l").output.splitlines()[1].startswith("d---------")
        assert left not in alive_in(tmp_path)
    assert alive_in(tmp_path) == []


def test_overwriting_changes_the_content_and_nothing_else(sandbox):
    sandbox.write_file("a", b"long content")
    sandbox.exec("ln a b; chmod 4755 a; stat -c '%i %a' a b > before")
    for content in (b"longer than it was before", b"short", b""):
        sandbox.write_file("a", content)
        assert sandbox.read_file("b") == content
    assert sandbox.exec("stat -c '%i %a' a b | diff - before").output == ""


def test_a_tree_goes_in_and_comes_out_as_it_was(backend, sandbox):
    tree = {
        "top": SandboxFile(b"1"),
        "d/run": SandboxFile(b"#!/bin/sh\necho ran", executable=True),
        "d/e/new\nline": SandboxFile(b""),
        os.fsdecode(b"d/\xff"): SandboxFile(bytes(300_000)),
    }
    sandbox.upload(tree, "place")
    assert sandbox.exec(["place/d/run"]).output == "ran\n"
    assert sandbox.download("place") == {f"place/{path}": file for path, file in tree.items()}
    sandbox.exec(
        "ln -s top place/link; ln -s /etc place/folder; mkfifo place/pipe; mkdir place/empty; echo > no; chmod 0 no"
    )
    out = sandbox.download()
    assert out == {f"place/{path}": file for path, file in tree.items()}
    with backend.create() as other:
        other.upload(out)
        assert other.download() == out
    with pytest.raises(FileNotFoundError):
        sandbox.download("nowhere")
    with pytest.raises(PermissionError):
        sandbox.download("../etc")


@pytest.mark.parametrize("path", ["../x", "/workspace/x", "/etc/x", "a/../../x", "", "link/x", "a\0b", "\ud800"])
def test_an_upload_stays_where_it_is_told_to(sandbox, path):
    sandbox.exec("ln -s /tmp link")
    with pytest.raises(PermissionError):
        sandbox.upload({path: SandboxFile(b"x")})
    assert sandbox.exec("ls /tmp; ls").output == "link\n"


def test_a_download_is_not_larger_than_asked_for(sandbox):
    sandbox.upload({str(number): SandboxFile(bytes(1000)) for number in range(10)})
    assert len(sandbox.download(largest=10_000)) == 10
    with pytest.raises(PermissionError, match="together"):
        sandbox.download(largest=9_999)
