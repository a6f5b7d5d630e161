"""Engines that are not there, refuse, or go away in the middle: errors that say what to do, and no hang."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import docker
import pytest
from engines import LIMITS, OwnEngine, gone, ours
from images import tiny_image

from agentdistill.errors import SandboxLostError, SandboxUnavailableError
from agentdistill.sandbox.docker import DockerBackend
from agentdistill.sandbox.docker.engine import Engine

# ---- errors that say what to do ------------------------------------------------------------------------------------


def refusal(**settings) -> str:
    with DockerBackend(**settings) as backend, pytest.raises(SandboxUnavailableError) as caught:
        backend.create()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_image_says_how_to_get_it(client):
    assert "`docker pull nowhere:1`" in refusal(image="nowhere:1")


@pytest.mark.parametrize("host", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:9"])
def test_a_missing_engine_says_how_to_start_it(host):
    said = refusal(image="x", host=host)
    assert "systemctl start docker" in said
    assert host in said


def test_a_socket_that_is_closed_to_us_says_who_may_open_it(client):
    if os.getuid() != 0:
        pytest.skip("only root can become somebody who may not use the engine")
    engine = Engine()
    os.seteuid(65534)
    try:
        with pytest.raises(SandboxUnavailableError, match="usermod -aG docker"):
            engine.check("")
    finally:
        os.seteuid(0)


def test_a_runtime_that_is_not_there_says_where_to_register_it(image):
    assert "daemon.json" in refusal(image=image, runtime="no-such-runtime")


def test_an_engine_of_another_architecture_is_refused(client, image, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert "architecture" in refusal(image=image)


def test_an_engine_behind_ssh_says_how_to_forward_its_socket():
    assert "ssh -NL" in refusal(image="x", host="ssh://somewhere")


def test_a_missing_sdk_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "docker", None)
    assert "pip install 'agentdistill[docker]'" in refusal(image="x")


def test_a_container_that_somebody_removes_is_a_lost_sandbox(client, backend):
    before = ours(client)
    with backend.create() as sandbox:
        (name,) = set(ours(client)) - set(before)
        killer = threading.Timer(0.3, client.remove_container, args=(name,), kwargs={"force": True})
        killer.start()
        began = time.monotonic()
        with pytest.raises(SandboxLostError):
            sandbox.exec(["sleep", "15"])
        assert time.monotonic() - began < 10
        with pytest.raises(SandboxLostError):
            sandbox.read_file("a")
        killer.join()


# ---- an engine that comes and goes ---------------------------------------------------------------------------------


@pytest.fixture
def own_engine(client, tmp_path_factory):
    if os.getuid() != 0:
        pytest.skip("only root can start an engine")
    # Not below pytest's own folder, whose path is too long for the engine's sockets.

    engine = OwnEngine(Path(tempfile.mkdtemp(prefix="engine-")))
    engine.start()
    yield engine
    if engine.process.poll() is None:
        engine.stop()
    for mounted in (*engine.folder.glob("exec-root/netns/*"), engine.folder / "data-root"):
        # One that was killed has left its mount below that of the next.
        while subprocess.run(["umount", "--lazy", str(mounted)], capture_output=True, check=False).returncode == 0:
            pass
    shutil.rmtree(engine.folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_an_engine_that_goes_away_loses_its_sandboxes_in_words_and_one_that_comes_back_is_used_again(own_engine, how):
    other = docker.APIClient(base_url=own_engine.host, version="auto")
    image = tiny_image(other)
    with DockerBackend(limits=LIMITS, image=image, host=own_engine.host) as backend:
        sandbox, busy = backend.create(), backend.create()
        lost = []

        def work() -> None:
            with pytest.raises(SandboxLostError):
                busy.exec(["sleep", "15"])
            lost.append(True)

        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(0.3)
        began = time.monotonic()
        own_engine.stop(how)
        thread.join(timeout=60)
        assert lost == [True]
        with pytest.raises(SandboxLostError):
            sandbox.exec(["true"])
        with pytest.raises(SandboxUnavailableError, match="systemctl start docker"):
            backend.create()
        sandbox.close()
        busy.close()
        assert time.monotonic() - began < 100
        own_engine.start()
        with backend.create() as again:
            assert again.exec(["true"]).exit_code == 0
    other = docker.APIClient(base_url=own_engine.host, version="auto")
    assert gone(other)
