"""Sandboxes in containers of a real engine: any image, confined, served like all others."""

import os
import threading

import pytest
from engines import LIMITS, Relay
from images import base_image, empty_image, tiny_image

from agentdistill.errors import UsageError
from agentdistill.sandbox.base import Limits
from agentdistill.sandbox.docker import DockerBackend

# ---- any image -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [base_image, tiny_image, empty_image])
def test_any_image_will_do_even_one_without_a_single_file(client, make):
    with DockerBackend(limits=LIMITS, image=make(client)) as backend, backend.create() as sandbox:
        code = "import json, os, subprocess, sys; print(subprocess.check_output([sys.executable, '-c', 'print(6*7)']))"
        assert sandbox.exec([sandbox.python, "-c", code]).output == "b'42\\n'\n"
        sandbox.write_file("a/b", b"\0\xff")
        assert sandbox.list_files() == ["a/b"]
        assert sandbox.read_file("a/b") == b"\0\xff"
        line = sandbox.exec("export A=1; mkdir -p x; cd x; true")
        if make is empty_image:
            assert (line.exit_code, line.output) == (127, "/bin/sh: command not found\n")
        else:
            assert sandbox.exec("echo $A $PWD").output == "1 /workspace/x\n"


def test_the_variables_of_an_image_are_those_of_its_commands_and_the_hosts_are_not(backend, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_HOST", "1")
    with backend.create() as sandbox:
        said = sandbox.exec(["env"]).output.splitlines()
    assert "FROM_IMAGE=yes" in said
    assert "HOME=/workspace" in said
    assert not any("SECRET" in line for line in said)


def test_the_users_proxies_stay_with_the_user(image, tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text('{"proxies": {"default": {"httpProxy": "http://me:password@proxy:1"}}}')
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with DockerBackend(image=image) as backend, backend.create() as sandbox:
        assert "password" not in sandbox.exec("env; cat /proc/1/environ").output


# ---- confined ------------------------------------------------------------------------------------------------------


def test_a_command_has_no_privileges_and_can_gain_none(sandbox):
    status = dict(line.split(":\t") for line in sandbox.exec(["cat", "/proc/self/status"]).output.splitlines())
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert status["Uid"].split() == ["1000"] * 4


WRITABLE = """
import os
for line in open("/proc/self/mounts"):
    place, kind = line.split()[1:3]
    for folder, folders, files in os.walk(place):
        if folder.startswith("/proc") and kind != "proc":
            continue
        folders[:] = [name for name in folders if not os.path.ismount(folder + "/" + name)]
        if os.access(folder, os.W_OK):
            print(kind, folder)
        if kind in ("proc", "sysfs", "mqueue"):
            break
"""


def test_only_what_is_in_memory_can_be_written(sandbox):
    places = {"/workspace", "/tmp", "/dev/shm", "/run/files", "/dev/mqueue"}
    said = sandbox.exec([sandbox.python, "-c", WRITABLE]).output.splitlines()
    assert {line.split()[1] for line in said} == places
    assert {line.split()[0] for line in said} == {"tmpfs", "mqueue"}
    assert sandbox.exec("ls /var/run/docker.sock /run/docker.sock").exit_code != 0


def test_there_is_no_network_and_nothing_is_told_of_the_hosts(sandbox):
    assert sandbox.exec("cat /proc/net/route | wc -l; ls /sys/class/net").output.split() == ["1", "lo"]
    told = sandbox.exec("cat /etc/resolv.conf").output.splitlines()
    assert [line for line in told if line.startswith("nameserver")] == ["nameserver 127.0.0.1"]
    assert not any(line.startswith(("search", "domain")) for line in told)
    assert sandbox.exec(["hostname"]).output == "sandbox\n"


def test_the_agent_can_neither_be_read_nor_killed_by_commands(sandbox):
    assert sandbox.exec("kill -9 1; kill -STOP 1; cat /proc/1/environ /proc/1/maps").exit_code != 0
    assert sandbox.exec(["ls", "-l", "/proc/1/fd"]).exit_code != 0
    assert sandbox.exec(["true"]).exit_code == 0


def test_a_memory_bomb_is_told_from_other_deaths_and_kills_only_itself(sandbox):
    code = "x = []\nwhile True: x.append(bytearray(1 << 20))"
    ended = sandbox.exec([sandbox.python, "-c", code])
    assert ended.exit_code == 137
    assert ended.exceeded == "memory"
    killed = sandbox.exec("kill -9 $$")
    assert (killed.exit_code, killed.exceeded) == (137, "")


def test_a_fork_bomb_meets_the_limit_of_processes(sandbox):
    code = "import os, time\ntry:\n while True: os.fork() or time.sleep(30)\nexcept OSError as e: print(e.errno)"
    ended = sandbox.exec([sandbox.python, "-c", code])
    assert ended.output == "11\n"
    assert ended.exceeded == "processes"
    assert sandbox.exec(["true"]).exceeded == ""


def test_the_workspace_is_limited_in_bytes_and_in_files(sandbox):
    assert "No space left" in sandbox.exec("head -c 100000000 /dev/zero >big").output
    assert sandbox.exec("rm big; for i in $(seq 600); do : >$i || exit 3; done").exit_code != 0
    assert len(sandbox.list_files()) == LIMITS.workspace_files
    sandbox.exec("rm *")
    sandbox.write_file("a", b"1")


def test_a_command_gets_its_share_of_the_processors_only(image):
    with DockerBackend(limits=Limits(cpus=0.25), image=image) as backend, backend.create() as sandbox:
        code = "import time; t = time.monotonic(); c = time.process_time()\nwhile time.monotonic() < t + 1: pass\n"
        used = sandbox.exec([sandbox.python, "-c", code + "print(time.process_time() - c)"])
        assert float(used.output) < 0.5


def test_what_the_engine_does_not_limit_is_named(client, backend, sandbox):
    assert backend.capabilities.limits == frozenset(Limits.model_fields)
    assert ("swap" in backend.capabilities.known_gaps) == (not client.info()["SwapLimit"])


def test_another_runtime_serves_as_well(client, image):
    runtimes = [name for name in client.info()["Runtimes"] if name.startswith(("runsc", "kata"))]
    if not runtimes:
        pytest.skip("the engine has neither gVisor nor Kata")
    with DockerBackend(image=image, runtime=runtimes[0]) as backend, backend.create() as sandbox:
        sandbox.write_file("a", b"1")
        kept = sandbox.snapshot()
        sandbox.exec("rm a; echo 2 >b")
        sandbox.restore(kept)
        assert sandbox.list_files() == ["a"]
        assert backend.create(kept).read_file("a") == b"1"


def test_root_is_refused_and_so_is_a_backend_without_an_image():
    with pytest.raises(UsageError, match="root"):
        DockerBackend(image="x", uid=0)
    with DockerBackend() as backend, pytest.raises(UsageError, match="image"):
        backend.create()
    with pytest.raises(UsageError, match="not both"):
        DockerBackend(image="x", build="y")


# ---- the line to the agent -----------------------------------------------------------------------------------------


def test_much_goes_in_and_comes_out_unharmed(image):
    content = os.urandom(9 << 20)
    with DockerBackend(image=image) as backend, backend.create() as sandbox:
        sandbox.write_file("big", content)
        assert sandbox.read_file("big") == content


def test_what_a_command_writes_to_stderr_is_its_output_not_the_agents(sandbox):
    assert sandbox.exec("echo one; echo two >&2").output == "one\ntwo\n"


def test_several_threads_use_their_own_sandboxes_at_once(backend):
    said = {}

    def use(number: int) -> None:
        with backend.create() as sandbox:
            sandbox.write_file("n", str(number).encode())
            said[number] = sandbox.exec("cat n").output

    threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == {number: str(number) for number in range(6)}


@pytest.mark.parametrize("how", ["tcp", "tls"])
def test_an_engine_elsewhere_is_used_like_one_here(image, tmp_path, monkeypatch, how):
    with Relay(tmp_path if how == "tls" else None) as port:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://localhost:{port}")
        if how == "tls":
            monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
            monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
        with DockerBackend(image=image) as backend, backend.create() as sandbox:
            content = os.urandom(3 << 20)
            sandbox.write_file("a", content)
            assert sandbox.read_file("a") == content
            assert sandbox.exec(["true"]).exit_code == 0
