"""Images made from a task's Dockerfile, and their files as what a sandbox begins with."""

import os
import secrets

import pytest
from engines import LIMITS
from images import TINY, image_of

from agentdistill.errors import SandboxError, UsageError
from agentdistill.sandbox.docker import DockerBackend
from agentdistill.sandbox.docker.leftovers import KIND, OWNER


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


def forget_built(client) -> None:
    """Remove the images that this process has built, each after those that were built on it."""
    while left := built(client):
        needed = {each["ParentId"] for each in client.images(all=True)}
        for name in [each for each in left if each not in needed] or left[:1]:
            client.remove_image(name, force=True)


@pytest.fixture
def forgets_images(client):
    yield
    forget_built(client)


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
    (task / "Dockerfile").write_text(f"FROM {image}\nRUN ls /sys/class/net >/reached\n")
    with DockerBackend(build=task) as backend, backend.create() as sandbox:
        assert sandbox.exec("cat /reached").output.split() == ["lo"]


def test_a_folder_without_a_dockerfile_and_an_image_that_works_in_a_strange_place_are_refused(client, tmp_path):
    with DockerBackend(build=tmp_path) as backend, pytest.raises(UsageError, match="Dockerfile"):
        backend.create()
    client.import_image_from_data(b"\0" * 1024, repository="agentdistill-test", tag="opt", changes=["WORKDIR /opt"])
    with DockerBackend(image="agentdistill-test:opt") as backend, pytest.raises(UsageError, match="WORKDIR"):
        backend.create()
