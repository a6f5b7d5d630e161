"""Warm sandboxes of any backend."""

import os
import threading

import pytest

from agentdistill.errors import ConfigError, SandboxError
from agentdistill.sandbox.base import SandboxBackend
from agentdistill.sandbox.bubblewrap import BubblewrapBackend
from agentdistill.sandbox.loading import BackendSpec
from agentdistill.sandbox.pool import Pool


@pytest.fixture
def pool(backend, tmp_path):
    with Pool(BubblewrapBackend(tmp_path), 3) as pool:
        yield pool


def test_a_pool_is_a_backend_with_snapshots_and_forks(pool):
    assert isinstance(pool, SandboxBackend)
    first = pool.create()
    first.write_file("a", b"1")
    kept = first.snapshot()
    assert pool.fill(60)
    second = pool.create(kept)
    assert second.read_file("a") == b"1"
    second.write_file("a", b"2")
    assert first.read_file("a") == b"1"
    pool.drop([kept])
    with pytest.raises(SandboxError):
        pool.create(kept)


def test_nothing_is_started_before_the_first_is_asked_for(pool):
    assert pool.ready == 0
    pool.create().close()
    assert pool.fill(60)
    assert pool.ready == 3


def test_no_two_get_the_same_sandbox(pool):
    pool.fill(60)
    taken, lock = [], threading.Lock()

    def take() -> None:
        for _ in range(4):
            sandbox = pool.create()
            with lock:
                taken.append(sandbox)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, sandbox in enumerate(taken):
        sandbox.write_file("n", str(number).encode())
    assert [int(sandbox.read_file("n")) for sandbox in taken] == list(range(16))


def test_one_that_died_while_it_waited_is_not_handed_out(pool):
    assert pool.fill(60)
    for sandbox in list(pool._ready):
        sandbox.hang_up()
    assert pool.create().exec(["true"]).exit_code == 0


def test_a_closed_pool_has_closed_all_and_is_of_no_use(backend, tmp_path):
    threads, open_files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    pool = Pool(BubblewrapBackend(tmp_path), 3)
    pool.create()  # the next ones are on their way when it closes
    pool.close()
    pool.close()
    assert threading.active_count() <= threads + 1  # what starts bubbles lives as long as the process
    assert len(os.listdir("/proc/self/fd")) <= open_files
    with pytest.raises(SandboxError):
        pool.create()


def test_any_backend_is_named_with_a_pool(backend, tmp_path):
    made = BackendSpec("bubblewrap", {"pool": 2}).make(tmp_path)
    assert isinstance(made, Pool)
    made.create().close()
    assert made.fill(60)
    made.close()
    with pytest.raises(ConfigError, match="pool"):
        BackendSpec("bubblewrap", {"pool": "many"}).make(tmp_path)
