"""Snapshots by doing again what was done, for a backend that keeps none."""

import os
import threading
from contextlib import suppress

import pytest
from agentdistill_environments.repair.environment import Repair
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from naked import NakedBackend

from agentdistill.errors import ConfigError, ReplayError, SandboxLostError, SnapshotError
from agentdistill.records import ToolCall
from agentdistill.sandbox import Sandbox, SandboxFile
from agentdistill.sandbox.base import SandboxBackend
from agentdistill.sandbox.bubblewrap import BubblewrapBackend
from agentdistill.sandbox.loading import BackendSpec
from agentdistill.sandbox.replay import ReplayingBackend


@pytest.fixture
def replaying(tmp_path):
    with ReplayingBackend(NakedBackend(), tmp_path) as backend:
        yield backend


def contents(sandbox: Sandbox) -> dict[str, bytes]:
    return {path: file.content for path, file in sandbox.download().items()}


def test_what_was_done_is_done_again_in_a_fork_and_only_up_to_the_snapshot(replaying):
    assert isinstance(replaying, SandboxBackend)
    sandbox = replaying.create()
    sandbox.upload({"a": SandboxFile(b"1\n"), "folder/b": SandboxFile(b"2\n")})
    sandbox.exec("cat a folder/b > c; exit 3")
    sandbox.remove_file("a")
    kept, world = sandbox.snapshot(), contents(sandbox)
    sandbox.write_file("c", b"later")
    fork = replaying.create(kept)
    assert contents(fork) == world == {"c": b"1\n2\n", "folder/b": b"2\n"}
    sandbox.restore(kept)
    assert contents(sandbox) == world
    assert sandbox.snapshot() == fork.snapshot() == kept
    fork.exec("rm c")
    assert "c" in contents(sandbox)


def test_what_a_backend_with_a_shell_state_had_exported_is_there_again(backend, tmp_path):
    with ReplayingBackend(BubblewrapBackend(tmp_path / "inner"), tmp_path) as replaying:
        sandbox = replaying.create()
        sandbox.exec("mkdir place && cd place && export NAME=value")
        fork = replaying.create(sandbox.snapshot())
        assert fork.exec("pwd; echo $NAME").output == "/workspace/place\nvalue\n"
        assert fork.exec(["cat", "/run/files/x"], files={"x": b"shown"}).output == "shown"
        assert replaying.create(fork.snapshot()).exec("pwd").output == "/workspace/place\n"


def test_whatever_says_something_else_this_time_is_an_error_that_names_it(replaying, tmp_path):
    count = tmp_path / "outside"
    sandbox = replaying.create()
    sandbox.exec("echo the same")
    first = sandbox.snapshot()
    sandbox.exec(f"echo x >> {count}; wc -l < {count}")
    kept = sandbox.snapshot()
    with pytest.raises(ReplayError, match=r"act 2 of 2 .*it said '1.*' and says '2.*' now"):
        replaying.create(kept)
    assert replaying.create(first).exec("true").exit_code == 0


def test_a_refused_write_is_refused_again(backend, tmp_path):
    with ReplayingBackend(BubblewrapBackend(tmp_path / "inner"), tmp_path) as replaying:
        sandbox = replaying.create()
        for path in ("../outside", "\ud800"):
            with pytest.raises(PermissionError):
                sandbox.write_file(path, b"")
        with pytest.raises(FileNotFoundError):
            sandbox.remove_file("\ud800")
        sandbox.exec("echo '\ud800' > odd")
        world = contents(sandbox)
        assert contents(replaying.create(sandbox.snapshot())) == world


def test_snapshots_outlive_the_backend_and_are_forgotten_with_their_owners(tmp_path):
    with ReplayingBackend(NakedBackend(), tmp_path) as backend:
        sandbox = backend.create()
        sandbox.write_file("a", b"1")
        one = sandbox.snapshot("one")
        sandbox.write_file("a", b"2")
        two = sandbox.snapshot("two")
    with ReplayingBackend(NakedBackend(), tmp_path) as backend:
        assert contents(backend.create(one)) == {"a": b"1"}
        backend.release("one")
        with pytest.raises(SnapshotError, match="not kept"):
            backend.create(one)
        assert contents(backend.create(two)) == {"a": b"2"}
        backend.drop([two])
        with pytest.raises(SnapshotError, match="not kept"):
            backend.create(two)


def test_it_is_chosen_by_an_option(tmp_path):
    made = BackendSpec("naked:NakedBackend", {"replay": True}).make(tmp_path)
    assert isinstance(made, ReplayingBackend)
    assert made.capabilities.snapshot == "filesystem"
    assert "replay" in made.capabilities.known_gaps
    made.close()
    with pytest.raises(ConfigError, match="true or false"):
        BackendSpec("naked:NakedBackend", {"replay": "yes"}).make(tmp_path)


def test_without_a_folder_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with ReplayingBackend(NakedBackend()) as backend:
        sandbox = backend.create()
        sandbox.write_file("a", b"")
        sandbox.snapshot()
    left = [os.path.join(place, name) for place, _, names in os.walk(tmp_path) for name in names]
    assert [name for name in left if not name.endswith("live/lock")] == []


WRITES = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from("abc"), st.binary(max_size=20)),
        st.tuples(st.just("remove"), st.sampled_from("abc"), st.just(b"")),
        st.tuples(st.just("append"), st.sampled_from("abc"), st.just(b"")),
    ),
    max_size=8,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=WRITES, at=st.integers(0, 8))
def test_any_step_comes_back_as_it_was(replaying, acts, at):
    sandbox = replaying.create()
    kept, world = sandbox.snapshot(), contents(sandbox)
    for number, (what, path, content) in enumerate(acts, 1):
        if what == "write":
            sandbox.write_file(path, content)
        elif what == "append":
            sandbox.exec(f"echo more >> {path}; cat {path}")
        else:
            with suppress(FileNotFoundError):
                sandbox.remove_file(path)
        if number == at:
            kept, world = sandbox.snapshot(), contents(sandbox)
    sandbox.restore(kept)
    assert contents(sandbox) == world
    sandbox.close()


def test_an_environment_goes_back_by_replay_and_goes_on_as_it_did(backend, tmp_path):
    """As a takeover does it: state from the snapshot, files by doing again what the tools did."""
    with ReplayingBackend(BubblewrapBackend(tmp_path / "inner"), tmp_path) as replaying:
        env = Repair(sandboxes=replaying)
        (task,) = env.make_tasks("train", 1)
        messages, _ = env.reset(seed=0, options={"task": task})
        worlds, seen = [env.snapshot()], []
        while not env.over:
            action = env.teach(messages, "exploring")
            said, *_ = env.step(action)
            seen.append((action, said))
            messages = (*messages, action, *said)
            worlds.append(env.snapshot())
        assert env.verify().passed
        for step in range(len(seen)):
            env.restore(worlds[step], task=task)
            for action, said in seen[step:]:
                assert env.step(action)[0] == said
        assert isinstance(seen[0][0].tool_calls[0], ToolCall)
        env.close()
    assert threading.active_count() < 20


def test_what_was_dropped_meanwhile_is_written_down_again(replaying):
    sandbox = replaying.create()
    sandbox.write_file("a", b"1")
    first = sandbox.snapshot()
    fork = replaying.create(first)
    replaying.drop([first])
    replaying._store.collect()
    for number, each in enumerate((sandbox, fork)):
        each.write_file("b", str(number).encode())
        assert contents(replaying.create(each.snapshot())) == {"a": b"1", "b": str(number).encode()}


def test_no_snapshot_is_taken_of_a_world_that_is_not_what_is_written_down(replaying, tmp_path):
    sandbox = replaying.create()
    sandbox.exec(f"echo x >> {tmp_path}/outside; wc -l < {tmp_path}/outside")
    kept = sandbox.snapshot()
    with pytest.raises(ReplayError):
        sandbox.restore(kept)
    with pytest.raises(SandboxLostError):
        sandbox.snapshot()
    other = replaying.create()
    other.close()
    with pytest.raises(SandboxLostError):
        other.snapshot()
