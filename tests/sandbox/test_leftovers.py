"""Clearing away what killed programs left, and nothing else."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from agents import agent_of
from episodes import in_eights, mounts, open_files, resident

from agentdistill.errors import SandboxLostError
from agentdistill.sandbox import cgroups
from agentdistill.sandbox.bubblewrap import BubblewrapBackend
from agentdistill.sandbox.leftovers import clean

COMMAND = str(Path(sys.executable).with_name("agentdistill"))
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


def own_groups() -> set[Path]:
    """Those of this process's backends; other programs' come and go."""
    return {path for path in groups() if f"-{os.getpid()}-" in str(path)}


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


def test_the_command_clears_away_what_a_killed_program_left_and_says_what(busy, tmp_path):
    pids = descendants(busy.pid)
    assert not [line for line in command_clean(tmp_path) if str(tmp_path) in line]  # it lives
    busy.kill()
    busy.wait()
    removed = command_clean(tmp_path)
    assert len([line for line in removed if line.startswith(f"folder {tmp_path}/live/")]) == 1
    assert not [line for line in command_clean(tmp_path) if str(tmp_path) in line]
    assert living(pids) == set()
    plain = subprocess.run([COMMAND, "sandbox", "clean", tmp_path], capture_output=True, text=True, timeout=100)
    assert (plain.returncode, plain.stdout) == (0, "nothing was left\n")


def command_clean(folder: Path) -> list[str]:
    ended = subprocess.run(
        [COMMAND, "sandbox", "clean", folder, "--json"], capture_output=True, text=True, timeout=100, check=True
    )
    return json.loads(ended.stdout)["removed"]


def test_episodes_that_are_closed_or_killed_leave_nothing(tmp_path):
    leaves_nothing(tmp_path, episodes=40)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_thousand_episodes_leave_nothing(tmp_path):
    leaves_nothing(tmp_path, episodes=1000)


def leaves_nothing(folder: Path, *, episodes: int) -> None:
    """Eight at a time; of every tenth the first process is killed from outside in the middle of a command."""
    files, mounted, running, grouped = open_files(), mounts(), descendants(os.getpid()), own_groups()
    with BubblewrapBackend(folder) as backend:
        with backend.create() as sandbox:
            sandbox.exec(["true"])

        def episode(number: int) -> None:
            with backend.create() as sandbox:
                sandbox.write_file("n", str(number).encode())
                assert sandbox.exec("cat n; sleep 100 &").output == str(number)
                backend.drop([sandbox.snapshot()])
                if number % 10 == 5:
                    killer = threading.Timer(0.05, os.kill, (agent_of(sandbox), signal.SIGKILL))
                    killer.start()
                    with pytest.raises(SandboxLostError):
                        sandbox.exec(["sleep", "5"])

        assert in_eights(min(50, episodes), episode) == []
        memory = resident()
        assert in_eights(episodes, episode) == []
        assert resident() < memory + (30 << 20)
        assert len(list((folder / "live").iterdir())) == 2  # the lock, and the folder of this backend
    assert open_files() <= files
    assert mounts() <= mounted
    assert living(descendants(os.getpid()) - running) == set()
    assert own_groups() == grouped
    assert os.listdir(folder / "live") == ["lock"]


def test_there_may_be_nothing_to_clear_away(tmp_path):
    assert not [line for line in clean([tmp_path, tmp_path / "missing"]) if str(tmp_path) in line]
    assert os.listdir(tmp_path) == []
