"""Whatever ends or dies, nothing stays on the engine; what is kept for later runs is whole."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from engines import LIMITS, gone, ours
from episodes import in_eights, mounts, open_files, resident
from images import engine_client

from agentdistill.errors import SandboxLostError
from agentdistill.sandbox.docker import DockerBackend, shipping
from agentdistill.sandbox.docker.engine import Engine
from agentdistill.sandbox.docker.leftovers import EXPIRES, KIND, OWNER, PLACE, become_owner, clean, reap

# ---- nothing left behind -------------------------------------------------------------------------------------------


DIES = """
import os, signal, sys
from agentdistill.sandbox.docker import DockerBackend, shipping
backend = DockerBackend(image=sys.argv[1])
sandbox = backend.create()
print(flush=True)
if sys.argv[2] == "in a command":
    sandbox.exec("sleep 100")
sys.stdin.read()
"""


@pytest.mark.parametrize("when", ["between commands", "in a command"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_container_ends_with_the_process_it_belongs_to(client, image, when, how):
    line = [sys.executable, "-c", DIES, image, when]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        process.stdout.readline()
        assert len(ours(client, process.pid)) == 1
        time.sleep(0.1)
        process.send_signal(how)
        process.wait(timeout=60)
    assert gone(client, pid=process.pid)


def labelled(client, image, labels) -> str:
    config = client.create_host_config(network_mode="none")
    return client.create_container(image, ["/none"], labels=labels, host_config=config)["Id"]


def test_what_dead_owners_left_is_reaped_and_what_others_own_is_not(client, image, tmp_path):
    engine = Engine()
    living, dead = become_owner(tmp_path / "here"), become_owner(tmp_path / "here")
    elsewhere = become_owner(tmp_path / "elsewhere")
    left = labelled(client, image, dead.labels("sandbox", 1000))
    filler = labelled(client, image, dead.labels("filler", 1000))
    used = labelled(client, image, living.labels("sandbox", -1000))
    strangers = labelled(client, image, elsewhere.labels("sandbox", 1000))
    expired = labelled(client, image, elsewhere.labels("sandbox", -1000))
    unlabelled = labelled(client, image, {})
    try:
        dead.leave()
        removed = reap(engine, living)
        there = {each["Id"] for each in client.containers(all=True)}
        assert not {left, filler, expired} & there
        assert {used, strangers, unlabelled} <= there
        assert {f"container {name[:12]}" for name in (left, filler, expired)} <= set(removed)
    finally:
        for name in (used, strangers, unlabelled):
            client.remove_container(name)
        living.leave()
        elsewhere.leave()
        engine.close()


def test_volumes_and_images_are_reaped_when_their_time_is_up_unless_something_uses_them(client, image, tmp_path):
    engine, owner = Engine(), become_owner(tmp_path)
    fresh, stale = (owner.labels("runtime", seconds) for seconds in (1000, -1000))
    for name, labels in (("test-fresh", fresh), ("test-stale", stale), ("test-used", stale)):
        client.create_volume(name, labels=labels)
    mount = {"Type": "volume", "Source": "test-used", "Target": "/x"}
    config = client.create_host_config(mounts=[mount])
    holder = client.create_container(image, ["/none"], host_config=config)["Id"]
    changes = [f'LABEL {key}="{value}"' for key, value in owner.labels("image", -1000).items()]
    client.import_image_from_data(b"\0" * 1024, repository="agentdistill-test", tag="stale", changes=changes)
    try:
        reap(engine, owner)
        left = {each["Name"] for each in client.volumes()["Volumes"]}
        assert {"test-fresh", "test-used"} <= left
        assert "test-stale" not in left
        assert not client.images(name="agentdistill-test:stale")
        client.remove_container(holder)
        clean(engine, owner)
        assert not {"test-fresh", "test-used"} & {each["Name"] for each in client.volumes()["Volumes"]}
    finally:
        owner.leave()
        engine.close()


def test_episodes_that_are_closed_or_killed_leave_nothing(image):
    leaves_nothing(image, episodes=16)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_hundred_episodes_leave_nothing(image):
    leaves_nothing(image, episodes=200)


def leaves_nothing(image, *, episodes: int) -> None:
    """Eight episodes at a time; every tenth has its container killed from outside in the middle."""
    files, mounted = open_files(), mounts()
    client = engine_client()
    before = ours(client)
    with DockerBackend(limits=LIMITS, image=image) as backend:
        with backend.create() as sandbox:
            sandbox.exec(["true"])
        memory = resident()
        assert in_eights(episodes, lambda number: episode(client, backend, number)) == []
        assert gone(client, before)
        assert resident() < memory + (30 << 20)
    client.close()
    assert open_files() <= files
    assert mounts() <= mounted


def episode(client, backend, number: int) -> None:
    with backend.create() as sandbox:
        sandbox.write_file("n", str(number).encode())
        assert sandbox.exec("cat n; sleep 100 &").output == str(number)
        if number % 10 == 5:
            name = sandbox.exec(["cat", "/proc/self/cgroup"]).output
            ids = [each for each in ours(client) if each in name]
            if len(ids) == 1:  # else a private namespace of groups hides it; the next line ends it as well
                client.kill(ids[0])
            else:
                sandbox.hang_up()
            with pytest.raises(SandboxLostError):
                sandbox.exec(["sleep", "5"])


# ---- shipping our Python -------------------------------------------------------------------------------------------


@pytest.fixture
def own_volume(client, tmp_path, monkeypatch):
    """A function for the names of volumes with our Python, which nobody else uses: what is shipped is like no other."""
    inside = tmp_path / "inside"
    shutil.copytree(shipping.INSIDE, inside)
    (inside / "odd.py").write_text(f"# {secrets.token_hex()}\n")
    monkeypatch.setattr(shipping, "INSIDE", inside)

    def there() -> set[str]:
        volumes = client.volumes(filters={"label": f"{KIND}=runtime"})["Volumes"] or []
        return {each["Name"] for each in volumes if each["Labels"][OWNER].startswith(f"{os.getpid()}-")}

    before = there()
    yield lambda: sorted(there() - before)
    for name in there() - before:
        client.remove_volume(name)


def test_backends_that_start_at_once_on_a_fresh_engine_share_one_complete_volume(image, own_volume):
    said = []

    def use() -> None:
        with DockerBackend(image=image) as backend, backend.create() as sandbox:
            said.append(sandbox.exec([sandbox.python, "-c", "import unittest, sqlite3; print(1)"]).output)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == ["1\n"] * 3
    assert len(own_volume()) == 1


def test_a_volume_that_somebody_removes_in_the_middle_is_filled_again(client, image, own_volume):
    with DockerBackend(image=image) as backend:
        backend.create().close()
        (name,) = own_volume()
        client.remove_volume(name)
        with backend.create() as sandbox:
            assert sandbox.exec([sandbox.python, "-c", "print(1)"]).output == "1\n"
    assert own_volume() == [name]


def test_a_volume_half_filled_by_a_process_that_was_killed_is_filled_again(client, image, own_volume):
    with DockerBackend(image=image) as backend:
        backend.create().close()
    (name,) = own_volume()
    labels = client.inspect_volume(name)["Labels"]
    client.remove_volume(name)
    client.create_volume(name, labels=labels)
    # The filler of a dead owner of this place is still there, and holds the fixed name.
    config = client.create_host_config()
    dead = {KIND: "filler", PLACE: labels[PLACE], OWNER: "1-nobody", EXPIRES: "9999999999"}
    client.create_container(image, ["/none"], name=name.replace("runtime", "filler"), labels=dead, host_config=config)
    with DockerBackend(image=image) as backend, backend.create() as sandbox:
        assert sandbox.exec([sandbox.python, "-c", "print(1)"]).output == "1\n"
