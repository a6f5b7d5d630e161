"""Which changes outside of the working directory cross over to whoever judges, and which would change the judge."""

import pytest

from agentdistill.sandbox.whole import Change
from agentdistill.verification.system import SystemRules

IMAGE = (
    *("/usr/bin/bash", "/usr/bin/python3", "/usr/bin/grep", "/usr/local/bin/backup.sh", "/usr/local/bin/pytest"),
    *("/usr/lib/x86_64-linux-gnu/libc.so.6", "/usr/lib/python3/dist-packages/pytest/__init__.py"),
    *("/usr/lib/python3.11/json/__init__.py", "/etc/nginx.conf", "/var/lib/dpkg/status", "/opt/app/settings.ini"),
)


@pytest.fixture(scope="module")
def rules() -> SystemRules:
    return SystemRules(IMAGE, lambda path: path == "/etc/profile.d/allowed.sh")


@pytest.mark.parametrize(
    ("path", "existed"),
    [
        ("/usr/local/bin/tool", False),
        ("/usr/bin/nginx", False),
        ("/usr/local/bin/backup.sh", True),
        ("/etc/nginx.conf", True),
        ("/etc/cron.d/job", False),
        ("/var/lib/dpkg/status", True),
        ("/opt/app/settings.ini", True),
        ("/root/.ssh/authorized_keys", False),
        ("/usr/lib/x86_64-linux-gnu/libnginx.so.1", False),
        ("/usr/lib/python3/dist-packages/flask/__init__.py", False),
        ("/usr/local/lib/python3.11/site-packages", False),
        ("/usr/local/lib/python3.11/site-packages/flask.py", False),
        ("/etc/profile.d/allowed.sh", False),
        ("/tmp/out.txt", False),
    ],
)
def test_what_a_task_may_be_about_crosses(rules: SystemRules, path: str, existed: bool) -> None:
    assert rules.let_through(Change(path, existed, False, ""))


@pytest.mark.parametrize(
    ("path", "existed"),
    [
        ("/usr/bin/python3", True),
        ("/usr/bin/grep", True),
        ("/usr/local/bin/pytest", True),
        ("/usr/local/bin/grep", False),
        ("/usr/local/sbin/bash", False),
        ("/opt/bin/python3", False),
        ("/etc/ld.so.preload", False),
        ("/etc/profile.d/evil.sh", False),
        ("/etc/bash.bashrc", True),
        ("/root/.gitconfig", False),
        ("/usr/lib/x86_64-linux-gnu/libc.so.6", True),
        ("/usr/local/lib/libc.so.6", False),
        ("/usr/lib/x86_64-linux-gnu/glibc-hwcaps/x86-64-v3/libm.so.6", False),
        ("/usr/lib/python3.11/json/__init__.cpython-311-x86_64-linux-gnu.so", False),
        ("/usr/lib/python3.11/json.py", False),
        ("/usr/lib/python3/dist-packages/pytest/__init__.py", True),
        ("/usr/local/lib/python3.11/dist-packages/pytest.py", False),
        ("/usr/local/lib/python3.11/dist-packages/pytest/__init__.py", False),
    ],
)
def test_what_would_be_taken_for_a_part_of_the_judge_does_not_cross(
    rules: SystemRules, path: str, existed: bool
) -> None:
    assert not rules.let_through(Change(path, existed, False, ""))
