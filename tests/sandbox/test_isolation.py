"""What a command in a sandbox can see, reach and touch."""

import os
import socket
import threading

import pytest


def test_the_root_holds_nothing_of_the_host_but_programs_and_the_interpreter(sandbox):
    there = set(sandbox.exec(["ls", "-A", "/"]).output.split())
    assert there >= {"usr", "etc", "proc", "dev", "tmp", "workspace"}
    assert not there & {"home", "sys", "var", "mnt", "media", "srv", "boot"}


def test_the_hosts_home_is_invisible(sandbox, tmp_path_factory):
    home = os.path.expanduser("~")
    names = [name for name in os.listdir(home) if name != ".pyenv"]
    listed = sandbox.exec(["ls", "-A", home]).output
    assert not [name for name in names if name in listed.split()]
    assert sandbox.exec("echo $HOME; cd; pwd").output == "/workspace\n/workspace\n"


def test_no_file_of_this_repository_can_be_read(sandbox):
    assert sandbox.exec(["cat", __file__]).exit_code != 0


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


def test_the_agent_can_neither_be_read_nor_traced_nor_stopped_by_a_command(sandbox):
    for name in ("environ", "mem", "maps", "auxv", "fd/0", "fd/1"):
        assert sandbox.exec(["cat", f"/proc/1/{name}"]).exit_code != 0
    assert sandbox.exec(["ls", "/proc/1/fd", "/proc/1/cwd/"]).exit_code != 0
    for signal in ("KILL", "STOP", "INT", "TERM", "CHLD", "SEGV", "USR1"):
        sandbox.exec(f"kill -{signal} 1; kill -{signal} -1; true")
    attach = "import ctypes; print(ctypes.CDLL(None).ptrace(16, 1, 0, 0))"
    assert sandbox.exec([sandbox.python, "-I", "-c", attach]).output == "-1\n"
    assert sandbox.exec(["echo", "alive"]).output == "alive\n"


def test_processes_of_the_host_are_neither_seen_nor_reached(sandbox):
    seen = sandbox.exec("ls /proc | grep -E '^[0-9]+$'").output.split()
    assert len(seen) < 6
    assert max(map(int, seen)) < 50
    assert sandbox.exec(["kill", "-0", str(os.getpid())]).exit_code != 0


def test_no_server_of_the_host_is_reached(sandbox):
    with socket.create_server(("127.0.0.1", 0)) as server:
        accepted = []
        threading.Thread(target=lambda: accepted.append(server.accept()), daemon=True).start()
        port = server.getsockname()[1]
        assert sandbox.exec(f"echo hi > /dev/tcp/127.0.0.1/{port}").exit_code != 0
        assert not accepted
        socket.create_connection(("127.0.0.1", port)).close()


@pytest.mark.parametrize("address", ["1.1.1.1", "169.254.169.254", "::1"])
def test_no_network_is_there(sandbox, address):
    code = f"import socket; socket.create_connection(({address!r}, 80), timeout=2)"
    result = sandbox.exec([sandbox.python, "-I", "-B", "-c", code])
    assert result.exit_code == 1
    assert "unreachable" in result.output or "refused" in result.output or "Cannot assign" in result.output
    assert sandbox.exec(["cat", "/proc/net/route"]).output.count("\n") <= 1


def test_no_capability_is_held_and_none_can_be_won(sandbox):
    status = sandbox.exec(["cat", "/proc/self/status"]).output
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {int(fields[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert fields["NoNewPrivs"] == "1"
    assert sandbox.exec(["unshare", "--user", "true"]).exit_code != 0
    assert sandbox.exec(["mount", "-t", "tmpfs", "none", "/tmp"]).exit_code != 0


def test_user_and_host_name_are_the_same_on_every_machine(sandbox):
    assert sandbox.exec("id -u; id -un; uname -n; umask").output == "1000\nagent\nsandbox\n0022\n"


def test_two_sandboxes_do_not_see_each_other(backend, sandbox):
    with backend.create() as other:
        other.write_file("secret", b"mine")
        assert sandbox.list_files() == []
        assert sandbox.exec("ls -A").output == ""


def test_the_interpreter_is_whole_and_is_this_one(sandbox):
    code = "import ssl, sqlite3, ctypes, multiprocessing.synchronize, sys; print(sys.version_info[:3])"
    result = sandbox.exec([sandbox.python, "-I", "-S", "-B", "-c", code])
    assert result.output.strip().splitlines()[-1] == str(__import__("sys").version_info[:3])


def test_our_own_packages_with_the_answers_cannot_be_imported(sandbox):
    for package in ("agentdistill", "agentdistill_environments"):
        assert sandbox.exec([sandbox.python, "-B", "-c", f"import {package}.errors"]).exit_code == 1
