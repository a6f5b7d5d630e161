"""Sandboxes of other worlds from one backend: one store of snapshots, one end, and nothing but what was asked for."""

import pytest

from agentdistill.errors import SandboxError, UsageError
from agentdistill.sandbox import agent_backend
from agentdistill.sandbox.base import Limits
from agentdistill.sandbox.bubblewrap import BubblewrapBackend
from agentdistill.sandbox.pool import Pool
from agentdistill.sandbox.replay import ReplayingBackend
from agentdistill.sandbox.worlds import World

APP = World(directory="/app", environment={"KIND": "bolt"}, links={"/logs": ".hidden/logs"}, seconds=3)


def test_a_world_has_its_directory_its_variables_and_its_links(backend):
    with backend.world(APP).create() as sandbox:
        sandbox.write_file(".hidden/logs/a", b"kept")
        told = sandbox.exec("pwd; echo $HOME $KIND; cat /logs/a; echo more > /logs/b; ls -d /workspace")
        assert told.output.splitlines()[:3] == ["/app", "/app bolt", "kept"]
        assert "No such file" in told.output
        assert sandbox.read_file(".hidden/logs/b") == b"more\n"
        assert sandbox.exec("sleep 30").timed_out


def test_snapshots_go_from_world_to_world_of_one_backend(backend):
    other = backend.world(World(directory="/srv/other"))
    with backend.world(APP).create() as sandbox:
        sandbox.write_file("work", b"done")
        kept = sandbox.snapshot("owner")
    assert backend.world(APP) is backend.world(APP)
    with backend.world(APP).create(kept) as again, other.create(kept) as elsewhere:
        assert again.read_file("work") == elsewhere.read_file("work") == b"done"
    backend.release("owner")
    with pytest.raises(SandboxError, match="not kept"):
        backend.world(APP).create(kept)


def test_a_world_that_asks_for_nothing_is_the_backend_itself_also_in_a_pool_and_where_snapshots_are_replayed(tmp_path):
    with BubblewrapBackend() as backend:
        assert backend.world(World()) is backend
        assert backend.world(World(image="any", any_image=True)) is backend
        assert backend.world(APP).world(World()) is backend
        replaying = ReplayingBackend(backend, tmp_path)
        assert replaying.world(World()) is replaying
        with replaying.world(APP).create() as sandbox:
            sandbox.exec("echo x > /logs")
            assert sandbox.exec("pwd").output == "/app\n"
    with Pool(BubblewrapBackend(), 1) as pool:
        assert pool.world(World()) is pool
        with pool.world(APP).create() as sandbox:
            assert sandbox.exec("pwd").output == "/app\n"


def test_worlds_end_with_their_backend_and_those_nobody_uses_make_room(monkeypatch):
    monkeypatch.setattr(agent_backend, "_MOST_WORLDS", 2)
    with BubblewrapBackend(limits=Limits(seconds=5)) as backend:
        used = backend.world(World(directory="/a0"))
        sandbox = used.create()
        for number in range(1, 4):
            backend.world(World(directory=f"/a{number}"))
        assert backend.world(World(directory="/a0")) is used
        assert sandbox.exec("pwd").output == "/a0\n"
    with pytest.raises(SandboxError):
        sandbox.exec("true")
    with pytest.raises(SandboxError, match="closed"):
        used.create()


@pytest.mark.parametrize("directory", ["/usr", "/tmp/x", "/opt/python", "/proc/1", "/"])
def test_a_workspace_that_would_hide_what_commands_need_is_refused(backend, directory):
    with pytest.raises((UsageError, ValueError)):
        backend.world(World(directory=directory)).create()


@pytest.mark.parametrize("path", ["app", "/a b", "/a/../b", "/a$b", "/a\n"])
def test_a_path_that_is_no_plain_one_is_refused(path):
    with pytest.raises(ValueError, match="plain absolute path"):
        World(directory=path)
