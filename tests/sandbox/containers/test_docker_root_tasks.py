"""Harbor tasks whose agent is root of its container: what it did outside the working directory, and what counts."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from agentdistill_environments.terminal import Terminal
from images import python_image
from test_docker_images import forget_built
from test_docker_tasks import call, submit

from agentdistill.errors import TaskError
from agentdistill.sandbox.base import Limits
from agentdistill.sandbox.docker import DockerBackend

BASE = "agentdistill-test-root"
DOCKERFILE = r"""FROM {base}
RUN mkdir -p /usr/local/bin /etc/shop && echo open=no > /etc/shop/settings
RUN printf '#!/bin/sh\necho closed\n' > /usr/local/bin/shop && chmod 755 /usr/local/bin/shop
RUN echo 'keeper:x:900:900::/home/keeper:/bin/sh' >> /etc/passwd
WORKDIR /srv/desk
COPY note .
"""
CONDITIONS = (
    'test "$(shop)" = open',
    'test "$(cat /etc/shop/settings)" = open=yes',
    'test "$(stat -c %u:%g:%a /var/lib/shop)" = 900:900:750',
    'test "$(stat -c %u note)" = 900',
    'test "$(readlink current)" = /var/lib/shop',
    'test "$(id -u)" = 0',
)
REWARD = "/logs/verifier/reward.txt"
TEST = f"{' && '.join(CONDITIONS)} && echo 1 > {REWARD} || echo 0 > {REWARD}"
SOLUTION = """
printf '#!/bin/sh\\necho open\\n' > /usr/local/bin/shop
sed -i s/no/yes/ /etc/shop/settings
mkdir -p /var/lib/shop && chown 900:900 /var/lib/shop note && chmod 750 /var/lib/shop
ln -s /var/lib/shop current
"""


@pytest.fixture(scope="module")
def base(client) -> Iterator[str]:
    client.tag(python_image(client), BASE, "latest")
    yield f"{BASE}:latest"
    forget_built(client)
    client.remove_image(f"{BASE}:latest", force=True)


@pytest.fixture(scope="module")
def backend(base) -> Iterator[DockerBackend]:
    with DockerBackend(limits=Limits(seconds=60), root=True) as backend:
        yield backend


def task(place: Path, base: str, *, settings: str = "", test: str = TEST) -> Path:
    (place / "environment").mkdir(parents=True)
    (place / "tests").mkdir()
    (place / "environment" / "Dockerfile").write_text(DOCKERFILE.format(base=base))
    (place / "environment" / "note").write_text("a note\n")
    (place / "instruction.md").write_text("Open the shop.")
    (place / "tests" / "test.sh").write_text(test)
    (place / "tests" / "answer").write_text("42\n")
    (place / "task.toml").write_text(f'[task]\nname = "a/shop"\n{settings}')
    return place


def terminal(backend: DockerBackend, folder: Path) -> Terminal:
    env = Terminal(tasks=folder, sandboxes=backend)
    env.reset(seed=0)
    return env


def judged(env: Terminal, command: str) -> float:
    call(env, "bash", command=command)
    verdict = submit(env)
    assert verdict is not None
    env.close()
    return verdict.score


def test_what_root_did_to_the_system_is_judged_and_every_step_of_it_comes_back(backend, base, tmp_path):
    env = terminal(backend, task(tmp_path, base))
    kept = [env.snapshot()]
    for line in SOLUTION.strip().splitlines():
        said, _ = call(env, "bash", command=line)
        assert "exit code 0" in said, said
        kept.append(env.snapshot())
    assert submit(env).score == 1
    for snapshot, score in ((kept[-1], 1), (kept[-2], 0), (kept[0], 0)):
        env.restore(snapshot)
        assert submit(env).score == score
    env.close()


WRITES = f"echo 1 > {REWARD}"
CHEATS = {
    "a shell that says yes": f"printf '#!/bin/sh\\n{WRITES}\\n' > /usr/local/bin/bash; chmod 755 /usr/local/bin/bash; "
    "cp /usr/local/bin/bash /bin/test",
    "a library before all others": "echo /tmp/evil.so > /etc/ld.so.preload",
    "a file of the shell": f"echo '{WRITES}' | tee /root/.profile /etc/profile /root/.bashrc",
    "another stat": "mkdir -p /usr/local/sbin; printf '#!/bin/sh\\necho 900\\n' > /usr/local/sbin/stat; "
    "chmod 755 /usr/local/sbin/stat",
    "a reward of its own": f"mkdir -p /logs/verifier; {WRITES}",
}


@pytest.mark.slow
@pytest.mark.parametrize("cheat", CHEATS)
def test_what_would_change_the_judge_is_left_behind(backend, base, tmp_path, cheat):
    env = terminal(backend, task(tmp_path, base, test=TEST))
    assert judged(env, CHEATS[cheat]) == 0


def test_a_link_to_the_tests_does_not_cross(backend, base, tmp_path):
    test = f"cmp -s answer /tests/answer && echo 1 > {REWARD} || echo 0 > {REWARD}"
    for number, line in enumerate(
        (
            "ln -s /tests/answer answer",
            "ln -s / all; ln -s all/tests/answer answer",
            "ln -s .harbor/tests/answer answer",
        )
    ):
        env = terminal(backend, task(tmp_path / str(number), base, test=test))
        assert judged(env, line) == 0
    env = terminal(backend, task(tmp_path / "honest", base, test=test))
    assert judged(env, "echo 42 > real; ln -s real answer") == 1


def test_who_removes_the_working_directory_is_judged_without_it(backend, base, tmp_path):
    test = f"test -e note && echo 0 > {REWARD} || echo 1 > {REWARD}"
    env = terminal(backend, task(tmp_path, base, test=test))
    assert judged(env, "cd /; rm -rf /srv") == 1


def test_a_task_that_names_root_is_refused_in_one_line_unless_it_is_allowed(base, tmp_path):
    folder = task(tmp_path, base, settings='[agent]\nuser = "root"\n')
    with DockerBackend(limits=Limits(seconds=60)) as plain, pytest.raises(TaskError, match="root = true"):
        terminal(plain, folder)


def test_of_a_file_with_several_names_those_cross_that_may(backend, base, tmp_path):
    test = f"test $(cat one) = 7 && test one -ef two && test ! -e /logs/one && echo 1 > {REWARD} || echo 0 > {REWARD}"
    env = terminal(backend, task(tmp_path, base, test=test))
    assert judged(env, "mkdir /logs; echo 7 > /logs/one; ln /logs/one; ln /logs/one two") == 1


def test_settings_for_pytest_do_not_cross_wherever_they_are(backend, base, tmp_path):
    unwanted = "test ! -e /tox.ini && test ! -e /opt/one/pyproject.toml && test ! -e /opt/two/setup.cfg"
    test = f"{unwanted} && test -e /opt/three/pyproject.toml && echo 1 > {REWARD} || echo 0 > {REWARD}"
    env = terminal(backend, task(tmp_path, base, test=test))
    lines = (
        *("mkdir -p /opt/one /opt/two /opt/three", "printf '[pytest]\\naddopts = --co\\n' > /tox.ini"),
        'printf \'[tool]\\n"\\\\u0070ytest" = {ini_options = {addopts = "--co"}}\\n\' > /opt/one/pyproject.toml',
        "printf '[tool:pytest]\\naddopts = --co\\n' > /opt/two/setup.cfg",
        "printf '[project]\\nname = \"pytest\"\\n' > /opt/three/pyproject.toml",
    )
    assert judged(env, "\n".join(lines)) == 1
