"""Clearing away what killed programs left, and nothing else."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agentdistill.sandbox import cgroups
from agentdistill.sandbox.leftovers import clean

BUSY = """
import sys, threading
from pathlib import Path
from agentdistill.sandbox.bubblewrap import BubblewrapBackend
backend = BubblewrapBackend(Path(sys.argv[1]), background="keep")
sandboxes = [backend.create() for _ in range(3)]
sandboxes[0].exec("echo kept > file; setsid nohup sleep 1000 & echo started")
sandboxes[0].snapshot()
spin = "while :; do :; done"
spinning = threading.Thread(target=sandboxes[1].exec, args=(f"setsid sh -c '{spin}' & {spin}",))
spinning.start()
print("ready", flush=True)
spinning.join()
"""


@pytest.fixture
def busy(request, tmp_path):
    """A program with three sandboxes, of which one runs a command and one has a process in the background."""
    request.getfixturevalue("backend")  # skips where nothing can be isolated
    with subprocess.Popen([sys.executable, "-c", BUSY, str(tmp_path)], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        time.sleep(0.3)
        yield program
        program.kill()


def descendants(pid: int) -> set[int]:
    found = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found |= {int(child), *descendants(int(child))}
    return found


def living(pids: set[int]) -> set[int]:
    return {pid for pid in pids if os.path.exists(f"/proc/{pid}/stat") and _state(pid) != "Z"}


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


def groups() -> set[Path]:
    return {path for each in cgroups._hierarchies() for path in cgroups._below(each.root)}


def test_what_a_killed_program_left_is_cleared_away_and_its_snapshots_stay(busy, tmp_path):
    before = groups()
    pids = descendants(busy.pid)
    assert len(living(pids)) >= 8  # three times bwrap and agent, and at least two processes of commands
    assert not [line for line in clean([tmp_path]) if str(tmp_path) in line]
    assert groups() == before
    assert len(living(pids)) >= 8
    busy.kill()
    busy.wait()
    deadline = time.monotonic() + 20
    while living(pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert living(pids) == set()
    removed = clean([tmp_path])
    assert len([line for line in removed if line.startswith(f"folder {tmp_path}/live/")]) == 1
    assert len([line for line in removed if line.startswith("control group ")]) == len(before - groups())
    assert os.listdir(tmp_path / "live") == ["lock"]
    assert (tmp_path / "snapshots.sqlite").exists()
    assert not [line for line in clean([tmp_path]) if str(tmp_path) in line]


def test_there_may_be_nothing_to_clear_away(tmp_path):
    assert not [line for line in clean([tmp_path, tmp_path / "missing"]) if str(tmp_path) in line]
    assert os.listdir(tmp_path) == []
