"""Snapshots of sandboxes: exact, equal for equal worlds, durable, and what becomes of processes that live in one."""

import time

import pytest

from agentdistill.errors import SnapshotError
from agentdistill.sandbox.base import LiveProcesses
from agentdistill.sandbox.bubblewrap import BubblewrapBackend

SERVER = "import socket, time; s = socket.create_server(('127.0.0.1', 8080)); print('up', flush=True); time.sleep(99)"


def keeping(tmp_path, **settings) -> BubblewrapBackend:
    return BubblewrapBackend(tmp_path, background="keep", **settings)


def serve(sandbox) -> None:
    sandbox.write_file("server.py", SERVER.encode())
    assert sandbox.exec("python3 server.py > log 2>&1 & echo $! > pid").exit_code == 0
    sandbox.exec("until grep -q up log; do sleep 0.01; done")


def test_a_process_that_is_kept_lives_on_and_answers_the_next_command(tmp_path):
    with keeping(tmp_path) as backend, backend.create() as sandbox:
        serve(sandbox)
        assert sandbox.processes() == LiveProcesses(("python3 server.py",), (8080,))
        assert sandbox.exec("echo > /dev/tcp/127.0.0.1/8080 && kill -0 $(cat pid)").exit_code == 0
        sandbox.exec("kill $(cat pid)")
        assert sandbox.exec("while kill -0 $(cat pid) 2>/dev/null; do sleep 0.01; done").exit_code == 0
        assert sandbox.processes() == LiveProcesses()


def test_what_a_kept_process_says_later_comes_with_the_next_command(tmp_path):
    with keeping(tmp_path) as backend, backend.create() as sandbox:
        began = time.monotonic()
        assert sandbox.exec("(sleep 0.3; echo late) & echo soon").output == "soon\n"
        assert time.monotonic() - began < 0.3
        time.sleep(0.5)
        assert sandbox.exec("echo next").output == "late\nnext\n"


def test_a_timeout_spares_those_who_lived_before(tmp_path):
    with keeping(tmp_path) as backend, backend.create() as sandbox:
        serve(sandbox)
        assert sandbox.exec("setsid sleep 50 & sleep 60", timeout=0.3).timed_out
        assert sandbox.processes().commands == ("python3 server.py",)


def test_a_snapshot_holds_processes_still_and_lets_them_go_on(tmp_path):
    with keeping(tmp_path) as backend, backend.create() as sandbox:
        sandbox.exec("(while :; do echo line >> log; cp log copy; done) & while [ ! -e copy ]; do :; done")
        sandbox.exec("sleep 50 & until [ $(ps -o comm= -p $!) = sleep ]; do :; done; kill -STOP $!")
        kept = sandbox.snapshot()
        size = int(sandbox.exec("sleep 0.1; wc -l < log").output)
        assert int(sandbox.exec("sleep 0.1; wc -l < log").output) > size
        assert "T" in sandbox.exec("ps -o stat= -C sleep").output, "who was stopped before stays so"
        with pytest.raises(SnapshotError, match="lived"):
            backend.create(kept)
        with pytest.raises(SnapshotError, match="lived"):
            sandbox.restore(kept)
        assert len(sandbox.processes().commands) >= 2, "a refusal changes nothing"


def test_a_restore_ends_every_process_and_tells_which_are_lost(tmp_path):
    with keeping(tmp_path, on_live_processes="accept") as backend, backend.create() as sandbox:
        empty = sandbox.snapshot()
        serve(sandbox)
        served = sandbox.snapshot()
        sandbox.restore(empty)
        assert sandbox.processes() == LiveProcesses()
        assert sandbox.lost_processes == LiveProcesses()
        assert sandbox.list_files() == []
        sandbox.restore(served)
        assert sandbox.lost_processes == LiveProcesses(("python3 server.py",), (8080,))
        assert sandbox.processes() == LiveProcesses()
        assert sandbox.list_files() == ["log", "pid", "server.py"]


def test_a_restart_brings_processes_back_and_leaves_the_shell_as_it_was(tmp_path):
    restart = (
        "cd /; export Q=1; python3 /workspace/server.py > /tmp/log & until grep -q up /tmp/log; do sleep 0.01; done"
    )
    with keeping(tmp_path, on_live_processes="restart", restart=restart) as backend, backend.create() as sandbox:
        sandbox.exec("mkdir d")
        serve(sandbox)
        sandbox.exec("cd d")
        kept = sandbox.snapshot()
        with backend.create(kept) as fork:
            assert fork.exec("pwd; echo ${Q-none}; echo > /dev/tcp/127.0.0.1/8080").output == "/workspace/d\nnone\n"
            assert fork.lost_processes == LiveProcesses(("python3 server.py",))
            fork.exec("rm /workspace/server.py")
            fork.restore(kept)
            assert fork.processes().ports == (8080,)


def test_a_restart_that_fails_is_a_typed_error(tmp_path):
    with keeping(tmp_path, on_live_processes="restart", restart="echo no; exit 3") as backend:
        sandbox = backend.create()
        sandbox.exec("sleep 50 &")
        kept = sandbox.snapshot()
        with pytest.raises(SnapshotError, match="ended with 3: no"):
            backend.create(kept)
