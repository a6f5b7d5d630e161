"""What bubblewrap shows to a command, beyond what the suite checks of every backend."""

import pytest


def test_the_root_holds_nothing_of_the_host_but_programs_and_the_interpreter(sandbox):
    there = set(sandbox.exec(["ls", "-A", "/"]).output.split())
    assert there >= {"usr", "etc", "proc", "dev", "tmp", "workspace"}
    assert not there & {"home", "sys", "var", "mnt", "media", "srv", "boot"}


def test_no_environment_variable_of_the_host_is_seen(sandbox, monkeypatch):
    monkeypatch.setenv("SECRET_KEY_OF_THE_HOST", "s3cret")
    seen = sandbox.exec("env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'").output
    assert "s3cret" not in seen
    names = {line.partition("=")[0] for line in seen.splitlines()}
    assert names <= {"PATH", "HOME", "LANG", "TZ", "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED", "PWD", "SHLVL", "_"}


@pytest.mark.parametrize("place", ["/usr/x", "/etc/x", "/x", "/run/x", "/opt/agent/x", "/opt/python/x", "/dev/x"])
def test_nothing_outside_the_workspace_can_be_written(sandbox, place):
    result = sandbox.exec(f"echo hello > {place}")
    assert result.exit_code != 0
    assert "Read-only" in result.output or "ermission" in result.output


def test_the_scratch_space_is_small_and_gone_with_the_command(sandbox):
    assert sandbox.exec("echo kept > /tmp/note && cat /tmp/note").output == "kept\n"
    assert sandbox.exec("echo left > /run/files/note; mkdir -p /dev/shm/a/b; chmod 0 /dev/shm/a /tmp").exit_code == 0
    places = ["/tmp", "/dev/shm", "/run/files"]
    assert sandbox.exec(["find", *places, "-mindepth", "1"]).output == ""
    assert sandbox.exec(["stat", "-c", "%a", "/tmp"]).output == "755\n"
    flood = "for i in 1 2 3; do head -c 40000000 /dev/zero > {}/$i || exit 1; done"
    assert "No space left" in sandbox.exec(flood.format("/tmp")).output
    assert "No space left" in sandbox.exec(flood.format("/dev/shm")).output


def test_user_and_host_name_are_the_same_on_every_machine(sandbox):
    assert sandbox.exec("id -u; id -un; uname -n; umask").output == "1000\nagent\nsandbox\n0022\n"
    assert sandbox.exec("echo $HOME; cd; pwd").output == "/workspace\n/workspace\n"


def test_the_interpreter_is_whole_and_is_this_one(sandbox):
    code = "import ssl, sqlite3, ctypes, multiprocessing.synchronize, sys; print(sys.version_info[:3])"
    result = sandbox.exec([sandbox.python, "-I", "-S", "-B", "-c", code])
    assert result.output.strip().splitlines()[-1] == str(__import__("sys").version_info[:3])


def test_our_own_packages_with_the_answers_cannot_be_imported(sandbox):
    for package in ("agentdistill", "agentdistill_environments"):
        assert sandbox.exec([sandbox.python, "-B", "-c", f"import {package}.errors"]).exit_code == 1
