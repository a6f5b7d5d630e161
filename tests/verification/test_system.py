"""Which changes outside of the working directory cross over to whoever judges, and which would change the judge."""

import pytest

from agentdistill.sandbox.whole import Change
from agentdistill.verification.system import SystemRules

IMAGE = (
    *("/usr/bin/bash", "/usr/bin/python3", "/usr/bin/grep", "/usr/local/bin/backup.sh", "/usr/local/bin/pytest"),
    *("/usr/lib/x86_64-linux-gnu/libc.so.6", "/usr/lib/python3/dist-packages/pytest/__init__.py"),
    *("/usr/lib/python3.11/json/__init__.py", "/etc/nginx.conf", "/var/lib/dpkg/status", "/opt/app/settings.ini"),
    *("/usr/lib/x86_64-linux-gnu/perl-base/strict.pm", "/usr/lib/ruby/3.1.0/set.rb", "/opt/node/lib/jest/index.js"),
    *("/opt/tools/jq", "/root/.cargo/env"),
)


@pytest.fixture(scope="module")
def rules() -> SystemRules:
    return SystemRules(IMAGE, lambda path: path == "/etc/profile.d/allowed.sh", ("/usr/bin", "/opt/tools", "/opt/a/b"))


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
        ("/usr/share/perl5/Flask.pm", False),
        ("/usr/bin/curl", False),
        ("/opt/tools/made", False),
        ("/usr/lib/git-core/git-remote-http", False),
        ("/var/lib/dpkg/info/nginx.list", False),
        ("/root/.cache/huggingface/model", False),
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
        ("/usr/local/lib/python3.11/dist-packages/pluggy/__init__.py", False),
        ("/usr/lib/python311.zip", False),
        ("/usr/bin/pybuilddir.txt", False),
        ("/usr/share/perl5/strict.pm", False),
        ("/usr/lib/x86_64-linux-gnu/perl-base/strict.pmc", False),
        ("/usr/lib/ruby/vendor_ruby/set.rb", False),
        ("/usr/lib/x86_64-linux-gnu/libnss_systemd.so.2", False),
        ("/etc/apt/apt.conf.d/00hook", False),
        ("/var/lib/dpkg/info/libc-bin.postinst", True),
        ("/root/.curlrc", False),
        ("/root/.cache/uv/archive/pytest.py", False),
        ("/usr/share/git-core/templates/hooks/post-checkout", False),
        ("/root/.cargo/env", True),
        ("/usr/local/bin/uvx", False),
        ("/opt/tools/grep", False),
        ("/opt/tools/jq", True),
    ],
)
def test_what_would_be_taken_for_a_part_of_the_judge_does_not_cross(
    rules: SystemRules, path: str, existed: bool
) -> None:
    assert not rules.let_through(Change(path, existed, False, ""))


@pytest.mark.parametrize(
    "path", ["/usr/local/sbin", "/etc/perl", "/usr/local/share/perl", "/x/dist-packages", "/opt/a", "/opt/tools"]
)
def test_no_link_stands_for_a_directory_whose_content_is_known_by_where_it_is(rules: SystemRules, path: str) -> None:
    assert not rules.let_through(Change(path, False, False, "/var/elsewhere"))


@pytest.mark.parametrize("path", ["/usr/lib/x86_64-linux-gnu/libx.so", "/usr/local/lib/libz.so", "/opt/app/current"])
def test_other_links_cross(rules: SystemRules, path: str) -> None:
    assert rules.let_through(Change(path, False, False, "elsewhere"))


def test_a_directory_that_holds_programs_or_libraries_of_the_image_does_not_go(rules: SystemRules) -> None:
    assert not rules.let_through(Change("/opt/node", True, True, ""))
    assert rules.let_through(Change("/opt/app", True, True, ""))
