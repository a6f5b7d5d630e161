"""What holds a sandbox: every bomb meets its own limit, and the sandbox is of use afterwards."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agentdistill.sandbox.base import ExecResult, Limits
from agentdistill.sandbox.bubblewrap import BubblewrapBackend
from agentdistill.sandbox.hardening import Hardening, sizes

MIB = 1 << 20
LIMITS = Limits(
    seconds=20,
    memory_bytes=128 * MIB,
    processes=40,
    workspace_bytes=16 * MIB,
    workspace_files=500,
    file_bytes=8 * MIB,
)
NOWHERE = "/a/group/that/is/not/there"


@pytest.fixture(scope="module", params=["groups", "no groups"])
def held(request, tmp_path_factory):
    """A backend with control groups, if they can be had, and one that is kept from having any."""
    cgroup = NOWHERE if request.param == "no groups" else None
    with BubblewrapBackend(tmp_path_factory.mktemp("held"), LIMITS, cgroup=cgroup) as backend:
        if cgroup is None and "memory bomb" in backend.capabilities.known_gaps:
            pytest.skip(backend.capabilities.known_gaps["memory bomb"])
        yield backend


def run(backend: BubblewrapBackend, code: str, *arguments: str, seconds: float = 20) -> ExecResult:
    """How a program ends, in a sandbox that is of use afterwards."""
    with backend.create() as sandbox:
        ended = sandbox.exec([sandbox.python, "-I", "-S", "-c", code, *arguments], timeout=seconds)
        after = sandbox.exec("true & wait; echo alive; ls -A /tmp /dev/shm /run/files | wc -l")
        assert (after.output, after.exceeded) == ("alive\n5\n", "")  # three names and two empty lines
        sandbox.snapshot()
        return ended


def counted(backend: BubblewrapBackend) -> bool:
    return "memory bomb" not in backend.capabilities.known_gaps


@pytest.mark.parametrize(
    "code",
    [
        "kept = [bytearray(b'x' * (1 << 20)) for _ in range(300)]",
        "import mmap; kept = mmap.mmap(-1, 300 << 20)\nfor at in range(0, 300 << 20, 4096): kept[at] = 1",
    ],
    ids=["heap", "shared map"],
)
def test_too_much_memory_is_refused_or_ends_the_command(held, code):
    ended = run(held, code + "\nprint('all of it')")
    assert "all of it" not in ended.output
    if counted(held):
        assert (ended.exit_code, ended.exceeded) == (137, "memory")
    else:
        assert "Memory" in ended.output or "allocate" in ended.output


MEMFD = """
import os
kept = [os.memfd_create('x') for _ in range(60)]
for each in kept:
    for _ in range(5): os.write(each, b'x' * (1 << 20))
"""
SYSTEM_V = """
import ctypes
library = ctypes.CDLL(None); library.shmat.restype = ctypes.c_void_p
for _ in range(60):
    number = library.shmget(0, 5 << 20, 0o1600); at = library.shmat(number, None, 0)
    ctypes.memset(at, 1, 5 << 20); library.shmdt(ctypes.c_void_p(at))
"""
SOCKETS = """
import socket
kept = []
for _ in range(1500):
    kept += socket.socketpair(); kept[-1].setblocking(False)
    while True:
        try: kept[-1].send(b'x' * 65536)
        except BlockingIOError: break
"""


@pytest.mark.parametrize("code", [MEMFD, SYSTEM_V, SOCKETS], ids=["memfd", "system V", "sockets"])
def test_memory_that_belongs_to_no_process_is_counted_too(held, code):
    if not counted(held):
        pytest.skip(held.capabilities.known_gaps["memory bomb"])
    ended = run(held, code + "\nprint('all of it')")
    assert (ended.exit_code, ended.exceeded) == (137, "memory")


def test_a_fork_bomb_meets_its_limit(held):
    ended = run(held, "import os, time\nfor _ in range(10): os.fork()\ntime.sleep(20)", seconds=5)
    assert "Resource temporarily unavailable" in ended.output
    assert ended.exceeded == ("processes" if counted(held) and not ended.timed_out else ended.exceeded)


THREADS = """
import threading, time
n = 0
try:
    for n in range(100): threading.Thread(target=time.sleep, args=(1,)).start()
except RuntimeError: print('refused after', n)
"""


def test_threads_count_as_processes(held):
    ended = run(held, THREADS)
    if counted(held):
        assert (ended.output, ended.exceeded) == ("refused after 39\n", "processes")
    else:  # their stacks may be too much memory before
        assert int(ended.output.split()[-1]) <= 39


FLOOD = """
import os, sys
n = 0
try:
    for n in range(10**6): os.mknod(sys.argv[1] + '/%d' % n)
except OSError as error: print(error.errno, n)
"""
FILL = """
import sys
n = 0
try:
    for n in range(1000): open(sys.argv[1] + '/%d' % n, 'wb').write(b'x' * (1 << 20))
except OSError as error: print(error.errno, n)
"""


@pytest.mark.parametrize("folder", ["/workspace", "/tmp", "/dev/shm", "/run/files"])
def test_many_small_files_and_much_content_meet_the_end_of_each_folder(held, folder):
    number, made = map(int, run(held, FLOOD, folder).output.split())
    assert number == errno.ENOSPC
    assert made <= (LIMITS.workspace_files if folder == "/workspace" else sizes(LIMITS).scratch_files)
    number, made = map(int, run(held, FILL, folder).output.split())
    assert number == errno.ENOSPC
    assert made <= 16


def test_large_and_deep_and_attributed_files_meet_their_limits(held):
    assert "File too large" in run(held, "open('a', 'wb').write(bytes(9 << 20))").output
    deep = "import os\nfor _ in range(100000): os.mkdir('d'); os.chdir('d')"
    assert "No space left" in run(held, deep).output
    attributes = "import os\nfor n in range(10000): os.setxattr('/workspace', 'user.%d' % n, b'x' * 60000)"
    ended = run(held, attributes)
    assert "No space left" in ended.output or "not supported" in ended.output


def test_many_processes_that_spin_are_dead_when_their_time_is_up(held):
    spin = "import os\nfor _ in range(4): os.fork()\nif os.fork() == 0: os.setsid()\nwhile True: pass"
    ended = run(held, spin, seconds=1)
    assert (ended.timed_out, ended.exceeded) == (True, "time")


def test_a_limit_that_was_met_is_told_once(held):
    with held.create() as sandbox:
        code = "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(60,)).start()"
        assert sandbox.exec([sandbox.python, "-I", "-S", "-c", code], timeout=1).exceeded == "time"
        assert sandbox.exec("true").exceeded == ""


def test_files_never_take_the_memory_that_the_agent_needs(tmp_path):
    limits = Limits(memory_bytes=48 * MIB, workspace_bytes=1 << 30, workspace_files=10**6)
    with BubblewrapBackend(tmp_path, limits) as backend, backend.create() as sandbox:
        for code in (FILL, FLOOD):
            sandbox.exec(["mkdir", f"/workspace/{len(code)}"])
            assert sandbox.exec([sandbox.python, "-I", "-S", "-c", code, f"/workspace/{len(code)}"]).exit_code == 0
        full = sandbox.snapshot()
        sandbox.exec("rm -r *")
        sandbox.restore(full)
        assert sandbox.exec("echo alive").output == "alive\n"


@pytest.mark.parametrize("memory", [48 * MIB, 64 * MIB, 256 * MIB, 1 << 30, 16 << 30])
def test_an_eighth_of_the_memory_is_never_files(memory):
    held = sizes(Limits(memory_bytes=memory, workspace_bytes=1 << 40, workspace_files=10**9))
    files = held.workspace_files + 3 * held.scratch_files
    assert held.workspace_bytes + 3 * held.scratch_bytes + files * 1100 <= memory * 7 // 8
    assert min(held.workspace_bytes, held.scratch_bytes) >= memory // 24 or memory > 1 << 30


def test_limits_that_leave_room_are_taken_as_they_are():
    held = sizes(Limits())
    assert (held.workspace_bytes, held.workspace_files) == (256 * MIB, 100_001)  # the workspace itself is one


def test_shared_memory_of_system_v_and_message_queues_do_not_outlast_a_command(held):
    with held.create() as sandbox:
        make = (
            "import ctypes; l = ctypes.CDLL(None); print(l.shmget(7, 4096, 0o1600) >= 0, l.semget(7, 1, 0o1600) >= 0, "
        )
        make += "l.msgget(7, 0o1600) >= 0, l.mq_open(b'/q', 0o102, 0o600, None))"
        assert sandbox.exec([sandbox.python, "-I", "-S", "-c", make]).output == "True True True -1\n"
        assert sandbox.exec("cat /proc/sysvipc/* | grep -vc key").output == "0\n"


def test_nobody_inside_is_privileged_whoever_started_it(held):
    with held.create() as sandbox:
        status = sandbox.exec(["cat", "/proc/self/status"]).output
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert [int(fields[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")] == [0] * 5
        assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
        assert sandbox.exec("id -u; id -g; id -G").output == "1000\n1000\n1000\n"
        assert sandbox.exec(["unshare", "--user", "true"]).exit_code != 0
        assert sandbox.exec("ls -A /proc/1; find /proc/sys -writable; echo 1000 > /proc/1/oom_score_adj").exit_code != 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_two_sandboxes_of_roots_are_two_users_of_the_host(held):
    if "root" in held.capabilities.known_gaps:
        pytest.skip(held.capabilities.known_gaps["root"])
    with held.create() as one, held.create() as two:
        users = [sandbox.exec(["cat", "/proc/self/uid_map"]).output.split()[-2] for sandbox in (one, two)]
        assert len({*users, "0"}) == 3


def test_what_is_not_held_is_named(tmp_path):
    hardening = Hardening(LIMITS, cgroup=NOWHERE)
    assert {"memory bomb", "processor time"} <= hardening.known_gaps.keys()
    assert "cpus" not in hardening.limits
    assert "processes" in hardening.limits
    assert "fork bomb" not in hardening.known_gaps
    hardening.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give that up")
def test_without_users_to_give_away_root_says_what_that_means(tmp_path):
    hardening = Hardening(LIMITS, users=(0, 0), cgroup=NOWHERE)
    assert {"memory bomb", "processor time", "fork bomb", "root"} <= hardening.known_gaps.keys()
    assert "processes" not in hardening.limits
    hardening.close()
    with BubblewrapBackend(tmp_path, LIMITS, users=(0, 0)) as backend, backend.create() as sandbox:
        assert sandbox.exec("id -u; id -un").output == "1000\nagent\n"


UNPRIVILEGED = """
import sys, tempfile
from agentdistill.sandbox.base import Limits
from agentdistill.sandbox.bubblewrap import BubblewrapBackend
with BubblewrapBackend(None, Limits(processes=30)) as backend, backend.create() as sandbox:
    print(sandbox.exec("id -u; id -un; grep -c . /proc/self/uid_map; cat /proc/self/uid_map | tr -s ' '").output)
    print(sandbox.exec("ls -A /proc/1; find /proc/sys -writable").output)
    print(sandbox.exec("for n in $(seq 60); do sleep 1 & done; wait").output.count("temporarily unavailable") > 0)
    print(sandbox.exec("while echo > $((n++ % 20000)); do :; done", timeout=1).exceeded)
    sandbox.restore(sandbox.snapshot())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_somebody_who_is_not_root_has_sandboxes_too(tmp_path):
    python = shutil.which("python3", path="/usr/bin")
    packages = Path(pytest.__file__).parents[1]
    same = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    if python is None or subprocess.run([python, "-c", same]).returncode:
        pytest.skip("no Python like ours that others may run")
    line = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", python, "-B", "-c", UNPRIVILEGED]
    environment = {"PYTHONPATH": f"{Path(__file__).parents[2]}:{packages}", "TMPDIR": "/tmp", "PATH": "/usr/bin:/bin"}
    ended = subprocess.run(line, env=environment, cwd="/", capture_output=True, text=True, timeout=200)
    shutil.rmtree("/tmp/agentdistill-12345", ignore_errors=True)
    if "Permission denied" in ended.stderr and "agentdistill/__init__" in ended.stderr:
        pytest.skip("others may not read this checkout")
    assert ended.stdout.split() == ["1000", "agent", "1", "1000", "0", "1", "True", "time"], ended.stderr
