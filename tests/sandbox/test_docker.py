"""Sandboxes in containers of a real engine: any image, confined, gone whatever happens, errors that say what to do."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import docker
import pytest
from images import TINY, base_image, empty_image, engine_client, image_of, tiny_image

from agentdistill.errors import SandboxError, SandboxLostError, SandboxUnavailableError, UsageError
from agentdistill.sandbox.base import Limits
from agentdistill.sandbox.docker import DockerBackend, shipping
from agentdistill.sandbox.docker.engine import Engine
from agentdistill.sandbox.docker.leftovers import EXPIRES, KIND, OWNER, PLACE, become_owner, clean, reap
from agentdistill.sandbox.pool import Pool

LIMITS = Limits(seconds=20, memory_bytes=128 << 20, processes=40, workspace_bytes=16 << 20, workspace_files=500)


@pytest.fixture(scope="module")
def client():
    client = engine_client()
    yield client
    client.close()


@pytest.fixture(scope="module")
def image(docker_options) -> str:
    return docker_options["image"]


@pytest.fixture(scope="module")
def backend(image):
    with DockerBackend(limits=LIMITS, image=image) as backend:
        yield backend


@pytest.fixture
def sandbox(backend):
    with backend.create() as sandbox:
        yield sandbox


def ours(client, pid: int | None = None) -> list[str]:
    """Containers on the engine, which others may use too, that a process has made; without a number, we."""
    owner = f"{pid or os.getpid()}-"
    containers = client.containers(all=True, filters={"label": KIND})
    return [each["Id"] for each in containers if each["Labels"].get(OWNER, "").startswith(owner)]


def gone(client, before=(), pid: int | None = None) -> bool:
    """Whether, in a while, nothing of us is on the engine that was not before."""
    until = time.monotonic() + 30
    while set(ours(client, pid)) - set(before):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


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


def test_there_is_no_network(sandbox):
    assert sandbox.exec("cat /proc/net/route | wc -l; ls /sys/class/net").output.split() == ["1", "lo"]


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


def test_root_is_refused_and_so_is_a_backend_without_an_image():
    with pytest.raises(UsageError, match="root"):
        DockerBackend(image="x", uid=0)
    with pytest.raises(UsageError, match="image"):
        DockerBackend()
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
    with relay(tmp_path if how == "tls" else None) as port:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://localhost:{port}")
        if how == "tls":
            monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
            monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
        with DockerBackend(image=image) as backend, backend.create() as sandbox:
            content = os.urandom(3 << 20)
            sandbox.write_file("a", content)
            assert sandbox.read_file("a") == content
            assert sandbox.exec(["true"]).exit_code == 0


class relay:
    """A port that passes everything on to the engine's socket; encrypted if given a folder for certificates."""

    def __init__(self, certificates) -> None:
        import ssl

        self.context = None
        if certificates is not None:
            line = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
            files = {name: str(certificates / f"{name}.pem") for name in ("ca", "cert", "key")}
            made = ["openssl", *line.split(), "-keyout", files["key"], "-out", files["cert"]]
            subprocess.run(made, check=True, capture_output=True)
            (certificates / "ca.pem").write_bytes((certificates / "cert.pem").read_bytes())
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(files["cert"], files["key"])
        self.listener = socket.create_server(("localhost", 0))

    def __enter__(self) -> int:
        threading.Thread(target=self._serve, daemon=True).start()
        return self.listener.getsockname()[1]

    def __exit__(self, *_) -> None:
        self.listener.close()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(near,), daemon=True).start()

    def _pass_on(self, near) -> None:
        # One process per connection would be simpler, but TLS cannot be read and written by two threads at once.
        import selectors

        far = socket.socket(socket.AF_UNIX)
        far.connect("/var/run/docker.sock")
        if self.context is not None:
            near = self.context.wrap_socket(near, server_side=True)
        with near, far, selectors.DefaultSelector() as ready:
            ready.register(near, selectors.EVENT_READ, far)
            ready.register(far, selectors.EVENT_READ, near)
            while True:
                for key, _ in ready.select():
                    try:
                        data = key.fileobj.recv(1 << 16)
                        while self.context is not None and key.fileobj is near and near.pending():
                            data += near.recv(1 << 16)
                    except OSError:
                        return
                    if not data:
                        return
                    key.data.sendall(data)


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


def test_episodes_that_are_closed_or_killed_leave_nothing(client, image):
    leaves_nothing(client, image, episodes=16)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_hundred_episodes_leave_nothing(client, image):
    leaves_nothing(client, image, episodes=200)


def leaves_nothing(client, image, *, episodes: int) -> None:
    """Eight episodes at a time; every tenth has its container killed from outside in the middle."""
    before = ours(client)
    numbers = iter(range(episodes))
    lock, problems = threading.Lock(), []

    def work(backend) -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            try:
                episode(client, backend, number)
            except Exception as error:  # noqa: BLE001 - told below, whatever it is
                problems.append(repr(error))

    with DockerBackend(limits=LIMITS, image=image) as backend:
        with backend.create() as sandbox:
            sandbox.exec(["true"])
        open_files = len(os.listdir("/proc/self/fd"))
        threads = [threading.Thread(target=work, args=(backend,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []
        assert gone(client, before)
        # The SDK keeps a bounded number of idle connections to the engine.
        assert len(os.listdir("/proc/self/fd")) <= open_files + 40
    assert len(os.listdir("/proc/self/fd")) <= open_files
    assert "/workspace" not in Path("/proc/mounts").read_text()


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


# ---- images from Dockerfiles ---------------------------------------------------------------------------------------


@pytest.fixture
def task(image, tmp_path):
    folder = tmp_path / "task"
    (folder / "app/empty").mkdir(parents=True)
    (folder / "app/main.py").write_text("print('hello')\n")
    (folder / "app/run").write_text("#!/bin/sh\necho ran\n")
    (folder / "app/run").chmod(0o755)
    (folder / "Dockerfile").write_text(
        f"FROM {image}\nWORKDIR /srv/app\nCOPY app .\nRUN ln -s main.py link; chmod 700 empty\nENV A=b\nVOLUME /data\n"
    )
    return folder


def built(client) -> list[str]:
    """The images that this process has built."""
    images = client.images(filters={"label": f"{KIND}=image"})
    return [each["Id"] for each in images if each["Labels"][OWNER].startswith(f"{os.getpid()}-")]


@pytest.fixture
def forgets_images(client):
    yield
    for name in built(client):
        client.remove_image(name, force=True)


@pytest.mark.usefixtures("forgets_images")
def test_a_dockerfile_makes_the_image_and_its_files_are_what_a_sandbox_begins_with(client, task):
    with DockerBackend(limits=LIMITS, build=task) as backend:
        first = backend.create()
        assert first.list_files() == ["link", "main.py", "run"]
        assert first.exec("pwd; ./run; readlink link; stat -c %a empty; echo $A").output.split() == [
            *("/srv/app", "ran", "main.py", "700", "b")
        ]
        assert first.exec("echo x >/data/x && rm run && echo y >main.py").exit_code == 0
        with backend.create() as second:
            assert second.read_file("main.py") == b"print('hello')\n"
            assert second.list_files("/srv/app") == ["link", "main.py", "run"]
            assert second.exec("ls /data").output == ""
        first.close()
    before = built(client)
    assert len(before) == 1
    with DockerBackend(limits=LIMITS, build=task) as again:
        assert built(client) == before
        again.create().close()
    assert built(client) == before


@pytest.mark.usefixtures("forgets_images")
def test_a_dockerfile_that_fails_says_so_with_the_end_of_its_log(client, image, task):
    own = image_of(client, TINY, changes=[f"LABEL own={secrets.token_hex()}"])  # of which nobody else has containers
    (task / "Dockerfile").write_text(f"FROM {own}\nRUN echo before; echo -n '\\033[31mwrong\\n'; exit 7\n")
    with DockerBackend(build=task) as backend, pytest.raises(SandboxError) as caught:
        backend.create()
    assert "before" in str(caught.value)
    assert "wrong" in str(caught.value)
    assert "\033" not in str(caught.value)
    assert "7" in str(caught.value).splitlines()[-1]
    assert client.containers(all=True, filters={"ancestor": own}) == []


@pytest.mark.usefixtures("forgets_images")
def test_building_reaches_no_network_unless_asked(image, task):
    (task / "Dockerfile").write_text(f"FROM {image}\nRUN test $(ls /sys/class/net) = lo\n")
    with DockerBackend(build=task) as backend:
        backend.create().close()


def test_a_folder_without_a_dockerfile_and_an_image_that_works_in_a_strange_place_are_refused(client, tmp_path):
    with DockerBackend(build=tmp_path) as backend, pytest.raises(UsageError, match="Dockerfile"):
        backend.create()
    client.import_image_from_data(b"\0" * 1024, repository="agentdistill-test", tag="opt", changes=["WORKDIR /opt"])
    with DockerBackend(image="agentdistill-test:opt") as backend, pytest.raises(UsageError, match="WORKDIR"):
        backend.create()


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


class OwnEngine:
    """A second engine, to be stopped and started at will."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.host = f"unix://{folder}/engine.sock"
        self.process = None

    def start(self) -> None:
        line = ["dockerd", "--iptables=false", "--bridge=none", "-H", self.host, "--storage-driver=vfs"]
        for option in ("data-root", "exec-root"):
            line.append(f"--{option}={self.folder}/{option}")
        (self.folder / "pid").unlink(missing_ok=True)
        until = time.monotonic() + 200
        while True:
            if self.process is None or self.process.poll() is not None:  # on a busy machine it gives up soon
                with (self.folder / "log").open("ab") as log:
                    self.process = subprocess.Popen([*line, f"--pidfile={self.folder}/pid"], stdout=log, stderr=log)
            try:
                docker.APIClient(base_url=self.host, version="auto").close()
                return
            except docker.errors.DockerException:
                assert time.monotonic() < until, (self.folder / "log").read_text()[-2000:]
                time.sleep(0.2)

    def stop(self, how=signal.SIGTERM) -> None:
        self.process.send_signal(how)
        self.process.wait(timeout=60)


@pytest.fixture
def own_engine(client, tmp_path_factory):
    if os.getuid() != 0:
        pytest.skip("only root can start an engine")
    # Not below pytest's own folder, whose path is too long for the engine's sockets.
    import tempfile

    engine = OwnEngine(Path(tempfile.mkdtemp(prefix="engine-")))
    engine.start()
    yield engine
    if engine.process.poll() is None:
        engine.stop()
    subprocess.run(
        ["umount", "-R", *map(str, engine.folder.glob("exec-root/netns/*"))], capture_output=True, check=False
    )
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


# ---- a pool --------------------------------------------------------------------------------------------------------


def test_a_pool_hands_out_sandboxes_that_are_ready_and_closes_all_of_them(client, image):
    before = ours(client)
    with Pool(DockerBackend(limits=LIMITS, image=image), 2) as pool:
        assert pool.fill(60)
        began = time.monotonic()
        with pool.create() as sandbox:
            assert sandbox.exec(["true"]).exit_code == 0
        assert pool.fill(60)
        assert time.monotonic() - began < 30
    assert gone(client, before)


def test_a_pool_never_hands_out_what_died_while_it_waited(client, image):
    with Pool(DockerBackend(limits=LIMITS, image=image), 2) as pool:
        assert pool.fill(60)
        for name in ours(client):
            client.remove_container(name, force=True)
        with pool.create() as sandbox:
            assert sandbox.exec(["true"]).exit_code == 0


def test_a_pool_that_cannot_start_any_says_why_to_whoever_asks(client):
    with Pool(DockerBackend(image="nowhere:1"), 2) as pool:
        assert not pool.fill(60)
        with pytest.raises(SandboxUnavailableError, match="docker pull"):
            pool.create()
