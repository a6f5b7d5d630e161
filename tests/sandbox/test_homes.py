"""Where backends live: several processes on one folder, some of which die, and nothing left behind."""

import os
import signal
import subprocess
import sys

import pytest

from agentdistill.sandbox.bubblewrap import BubblewrapBackend
from agentdistill.sandbox.homes import settle
from agentdistill.sandbox.inside.removal import remove

IN_AND_OUT = """
import sys
from pathlib import Path
from agentdistill.sandbox.homes import settle
for _ in range(150):
    home = settle(Path(sys.argv[1]))
    for name in ("a/b/c", "a/d", "e"):
        (home.folder / name).mkdir(parents=True)
        (home.folder / name / "file").write_text("x")
    home.leave()
"""
BACKENDS = """
import sys
from pathlib import Path
from agentdistill.sandbox.bubblewrap import BubblewrapBackend
for _ in range(8):
    with BubblewrapBackend(Path(sys.argv[1])) as backend:
        sandbox = backend.create()
        sandbox.write_file("a/b", b"1")
        sandbox.exec(["true"])
        sandbox.snapshot()
        backend.create().close()
"""
KILLED = """
import os, signal, sys
from pathlib import Path
from agentdistill.sandbox.homes import settle
home = settle(Path(sys.argv[1]))
(home.folder / "workspace").mkdir()
if sys.argv[2] == "without a lock file":
    (home.folder / "lock").unlink()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("code", [IN_AND_OUT, BACKENDS], ids=["homes", "backends"])
def test_processes_that_come_and_go_in_one_folder_do_not_hurt_each_other(request, tmp_path, code):
    if code is BACKENDS:
        request.getfixturevalue("backend")  # skips where nothing can be isolated
    live = tmp_path / "live"
    place = tmp_path if code is BACKENDS else live
    both = [subprocess.Popen([sys.executable, "-c", code, str(place)], stderr=subprocess.PIPE) for _ in range(2)]
    said = [process.communicate(timeout=60)[1].decode() for process in both]
    assert said == ["", ""]
    assert os.listdir(live) == ["lock"]


@pytest.mark.parametrize("how", ["with its lock file", "without a lock file"])
def test_the_folder_of_a_killed_process_is_removed_by_the_next(tmp_path, how):
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), how], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 2
    home = settle(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([home.folder.name, "lock"])
    home.leave()


def test_the_folder_of_a_living_process_stays(tmp_path):
    first = settle(tmp_path)
    second = settle(tmp_path)
    assert first.folder.is_dir()
    first.leave()
    assert second.folder.is_dir()
    second.leave()


def test_leaving_a_folder_that_somebody_removed_is_no_error(tmp_path):
    home = settle(tmp_path / "live")
    remove(str(tmp_path / "live"))
    home.leave()


def test_while_sandboxes_run_only_snapshots_lie_in_the_folder(backend, tmp_path):
    with BubblewrapBackend(tmp_path) as first:
        sandbox = first.create()
        sandbox.write_file("a", b"1")
        kept = sandbox.snapshot()
        assert {path.name.partition("-")[0] for path in tmp_path.iterdir()} == {"live", "snapshots.sqlite"}
    assert os.listdir(tmp_path / "live") == ["lock"]
    with BubblewrapBackend(tmp_path) as later:
        assert later.create(kept).read_file("a") == b"1"
