"""File operations from the host side, on whatever a hostile command left in the workspace."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agentdistill.sandbox.base import Limits
from agentdistill.sandbox.bubblewrap import BubblewrapBackend


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
