"""How commands start and end: results, limits, output, and the state of the shell."""

import os
import sys
import time

import pytest

from agentdistill.errors import SandboxLostError
from agentdistill.sandbox.base import Limits, LiveProcesses, Sandbox, SandboxBackend
from agentdistill.sandbox.bubblewrap import BubblewrapBackend
from agentdistill.sandbox.inside.commands import Output


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_the_protocol_is_fulfilled(backend, sandbox):
    assert isinstance(backend, SandboxBackend)
    assert isinstance(sandbox, Sandbox)
    assert backend.capabilities.limits <= set(Limits.model_fields)


def test_a_failing_command_is_a_result(sandbox):
    result = sandbox.exec("echo out; echo err >&2; exit 3")
    assert (result.exit_code, result.output, result.timed_out, result.truncated) == (3, "out\nerr\n", False, False)


@pytest.mark.parametrize(
    ("command", "exit_code"),
    [
        (["no-such-program"], 127),
        (["/etc/passwd"], 126),
        ("no-such-program", 127),
        ("kill -9 $$", 137),
        ("echo (", 2),
        ("echo a\0b", 126),
        (["echo", "x" * 200_000], 126),
        ("exec false", 1),
    ],
)
def test_what_cannot_run_is_a_result_too(sandbox, command, exit_code):
    result = sandbox.exec(command)
    assert result.exit_code == exit_code
    assert "bwrap" not in result.output
    assert sandbox.exec(["echo", "alive"]).output == "alive\n"


def test_a_timeout_kills_every_process_and_keeps_what_was_said(sandbox):
    start = time.monotonic()
    result = sandbox.exec("echo before; (setsid sh -c 'sleep 1; touch late' &) ; sleep 60; echo after", timeout=0.4)
    assert time.monotonic() - start < 3
    assert (result.timed_out, result.exit_code, result.output) == (True, 124, "before\n")
    assert result.exceeded == "time"
    assert sandbox.processes() == LiveProcesses()
    time.sleep(1.2)
    assert sandbox.list_files() == []


def test_a_timeout_can_shorten_the_limit_but_not_lengthen_it(tmp_path):
    with BubblewrapBackend(tmp_path, Limits(seconds=0.3)) as backend, backend.create() as sandbox:
        assert sandbox.exec("sleep 5", timeout=60).timed_out


def test_a_background_process_neither_delays_the_result_nor_outlives_it(sandbox):
    start = time.monotonic()
    result = sandbox.exec("(setsid nohup sh -c 'sleep 1; touch late' &); echo done")
    assert time.monotonic() - start < 0.9
    assert (result.output, result.exit_code) == ("done\n", 0)
    time.sleep(1.2)
    assert sandbox.list_files() == []


def test_endless_output_keeps_its_head_and_tail_with_the_cut_marked(tmp_path):
    limits = Limits(output_bytes=1000, seconds=5)
    with BubblewrapBackend(tmp_path, limits) as backend, backend.create() as sandbox:
        result = sandbox.exec("echo first; head -c 30000000 /dev/zero | tr '\\0' x; echo; echo last")
        assert result.truncated
        assert result.output.startswith("first\nxxx")
        assert result.output.endswith("xxx\nlast\n")
        assert "\n[... 29999012 bytes cut ...]\n" in result.output
        assert len(result.output) < 1100


def test_output_is_cut_the_same_however_it_arrives():
    text = bytes(range(256)) * 3000
    whole, pieces = Output(1000), Output(1000)
    whole.add(text)
    for start in range(0, len(text), 7):
        pieces.add(text[start : start + 7])
    assert whole.content() == pieces.content()
    short = Output(1000)
    short.add(b"x" * 1000)
    assert short.content() == b"x" * 1000


def test_output_that_is_not_utf8_becomes_valid_text(sandbox):
    assert sandbox.exec("printf 'a\\377b\\0c'").output == "a�b\0c"


def test_memory_and_file_size_are_limited(tmp_path):
    limits = Limits(memory_bytes=256 << 20, file_bytes=1 << 20)
    with BubblewrapBackend(tmp_path, limits) as backend, backend.create() as sandbox:
        hungry = sandbox.exec([sandbox.python, "-I", "-S", "-c", "bytearray(400 << 20)"])
        assert hungry.exit_code != 0
        assert hungry.exceeded == "memory" or "MemoryError" in hungry.output
        assert sandbox.exec("head -c 3000000 /dev/zero > big").exit_code != 0
        assert len(sandbox.read_file("big")) == 1 << 20
        assert sandbox.exec("ulimit -c; ulimit -t").output == "0\n21\n"


def test_directory_and_exported_variables_persist_even_when_the_command_fails(sandbox):
    assert sandbox.exec("mkdir -p a/b; cd a/b; export X='two\nlines' Y=2; Z=3; exit 5").exit_code == 5
    assert sandbox.exec('pwd; echo "$X|$Y|$Z"').output == "/workspace/a/b\ntwo\nlines|2|\n"
    sandbox.exec("unset Y; cd ..; false")
    assert sandbox.exec("pwd; echo ${Y-unset}").output == "/workspace/a\nunset\n"


@pytest.mark.parametrize("habit", ["set -eu; ", "set -C; ", "IFS=a; ", "name=x; export name; ", "trap 'true' ERR; "])
def test_the_state_of_the_shell_survives_its_habits(sandbox, habit):
    sandbox.exec(f"{habit}mkdir here; cd here; export KEPT=yes")
    assert sandbox.exec("pwd; echo $KEPT").output == "/workspace/here\nyes\n"


def test_an_argument_vector_starts_in_the_directory_but_leaves_the_shell_alone(sandbox):
    sandbox.exec("mkdir d; cd d; export LD_PRELOAD_ME=1")
    assert sandbox.exec(["pwd"]).output == "/workspace/d\n"
    assert "LD_PRELOAD_ME" not in sandbox.exec(["env"]).output
    assert sandbox.exec(["bash", "-c", "cd /; export Q=1"]).exit_code == 0
    assert sandbox.exec("pwd; echo ${Q-no}").output == "/workspace/d\nno\n"


def test_a_directory_that_vanished_leads_back_to_the_workspace(sandbox):
    sandbox.exec("mkdir d; cd d")
    sandbox.exec(["rmdir", "/workspace/d"])
    assert sandbox.exec(["pwd"]).output == "/workspace\n"
    sandbox.exec("cd /tmp && mkdir x && cd x")
    assert sandbox.exec("pwd").output == "/workspace\n"


def test_a_shell_that_is_killed_leaves_the_state_as_it_was(sandbox):
    sandbox.exec("export A=1")
    sandbox.exec("export A=2; kill -9 $$")
    sandbox.exec("export A=3; sleep 9", timeout=0.3)
    assert sandbox.exec("echo $A").output == "1\n"


def test_a_huge_environment_does_not_break_the_sandbox(sandbox):
    sandbox.exec("export BIG=$(head -c 100000 /dev/zero | tr '\\0' x)")
    assert sandbox.exec("echo ${#BIG}").output == "0\n"


def test_files_are_shown_to_one_command_and_the_next_one_has_them_whole_again(sandbox):
    files = {"check.py": b"print(6 * 7)", "deep/er.txt": b"x"}
    for _ in range(2):
        assert sandbox.exec([sandbox.python, "-I", "-S", "-B", "/run/files/check.py"], files=files).output == "42\n"
        assert sandbox.exec("cd /run/files; cat deep/er.txt; rm -r deep; echo y > check.py", files=files).output == "x"
    assert sandbox.exec(["ls", "-A", "/run/files"]).output == ""
    for name in ("../x", "/workspace/x", "a/../../x", ""):
        with pytest.raises(PermissionError):
            sandbox.exec(["true"], files={name: b""})
    with pytest.raises(PermissionError, match="full"):
        sandbox.exec(["true"], files={"large": bytes(100 << 20)})
    assert sandbox.exec(["ls", "-A", "/run/files", "/workspace"]).output == "/run/files:\n\n/workspace:\n"


def test_a_closed_sandbox_says_so_and_leaves_nothing_behind(tmp_path):
    backend = BubblewrapBackend(tmp_path)
    before = descriptors()
    sandbox = backend.create()
    for _ in range(3):
        sandbox.exec("mkdir -p x; chmod 0 x; sleep 9 & echo hi")
    sandbox.close()
    sandbox.close()
    with pytest.raises(SandboxLostError):
        sandbox.exec(["true"])
    with pytest.raises(SandboxLostError):
        sandbox.snapshot()
    backend.create()
    backend.close()
    backend.close()
    assert descriptors() == before
    assert [path.name for path in (tmp_path / "live").iterdir()] == ["lock"]


def test_sandboxes_can_be_used_from_many_threads_at_once(backend):
    from concurrent.futures import ThreadPoolExecutor

    def work(number: int) -> str:
        with backend.create() as sandbox:
            sandbox.write_file("n", str(number).encode())
            kept = sandbox.snapshot()
            with backend.create(kept) as fork:
                return fork.exec("cat n").output

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(24))) == [str(number) for number in range(24)]


def test_python3_is_the_interpreter_that_runs_us(sandbox):
    asks = "import sys; print(sys.version); print(sys.prefix); import json"
    known = sandbox.exec([sandbox.python, "-c", asks])
    for name in ("python3", "python"):
        assert sandbox.exec(f"{name} -c '{asks}'").output == known.output
        assert sandbox.exec([name, "-c", asks]).output == known.output
    assert sys.version in known.output
    assert known.exit_code == 0
