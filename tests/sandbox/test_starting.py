"""Sandboxes start however busy, forked or short of something the program is that starts them."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from agentdistill.errors import SandboxError
from agentdistill.sandbox.bubblewrap import BubblewrapBackend
from agentdistill.sandbox.confinement import AGENT, interpreter
from agentdistill.sandbox.forkserver import ForkServer
from agentdistill.sandbox.uids import UNUSED

# The children hold every descriptor that was open when they were made, for longer than the test lasts.
FORKS = """
import os, signal, time
from agentdistill.sandbox.bubblewrap import BubblewrapBackend
children = []
backend = BubblewrapBackend()
for number in range(8):
    backend.create().close()
    time.sleep(0.002 * (number % 4))
    child = os.fork()
    if child == 0:
        signal.alarm(120)
        signal.pause()
        os._exit(0)
    children.append(child)
backend.close()
print("done", flush=True)
for child in children:
    os.kill(child, signal.SIGKILL)
os._exit(0)
"""


def test_a_program_that_forks_while_it_starts_sandboxes_waits_for_none_of_its_children(backend):
    ended = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=120)
    assert (ended.stdout, ended.returncode) == ("done\n", 0), ended.stderr


def test_a_fork_is_told_to_make_a_backend_of_its_own_and_ends_nothing_of_its_parents(tmp_path):
    with BubblewrapBackend(tmp_path) as backend, backend.create() as sandbox:
        told, tell = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                backend.create()
            except SandboxError as error:
                os.write(tell, str(error).encode())
            backend.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert b"make another one" in os.read(told, 1000)
        os.close(told)
        os.close(tell)
        assert sandbox.exec("echo alive").output == "alive\n"
        backend.create().close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who has users to give away")
def test_one_user_is_enough_for_one_sandbox_at_a_time(tmp_path):
    with BubblewrapBackend(tmp_path, users=(UNUSED[0], UNUSED[0])) as backend:
        for _ in range(3):
            with backend.create() as sandbox:
                assert sandbox.exec("id -u").output == "1000\n"


def test_one_agent_that_cannot_be_forked_takes_no_other_along(backend, tmp_path):
    backend.create().close()
    root = next(path for path in backend._home.folder.iterdir() if path.name == "root")
    server = ForkServer(interpreter().host, root / AGENT.lstrip("/"))
    ours, theirs = os.pipe()
    forked = server.fork(ours, theirs, None)
    try:
        with pytest.raises(SandboxError, match="cannot fork"):
            server.fork(10**6, theirs, None)
        assert not forked.wait(0.2), "it lives"
    finally:
        forked.close()
        server.close()
        os.close(ours)
        os.close(theirs)


def test_many_threads_start_more_sandboxes_than_there_are_descriptors_below_a_thousand(tmp_path):
    with BubblewrapBackend(tmp_path) as backend, ThreadPoolExecutor(8) as pool:
        held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1024)]
        try:
            sandboxes = list(pool.map(lambda _: backend.create(), range(40)))
            outputs = list(pool.map(lambda sandbox: sandbox.exec("echo alive").output, sandboxes))
            assert outputs == ["alive\n"] * 40
        finally:
            for each in held:
                os.close(each)
