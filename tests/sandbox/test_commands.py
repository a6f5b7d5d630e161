"""How commands start and end: results, limits, output, and the state of the shell."""

import os
import sys

import pytest

from agentdistill.errors import SandboxLostError
from agentdistill.sandbox.base import Limits, Sandbox, SandboxBackend
from agentdistill.sandbox.bubblewrap import BubblewrapBackend
from agentdistill.sandbox.inside.commands import Output


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_the_protocol_is_fulfilled(backend, sandbox):
    assert isinstance(backend, SandboxBackend)
    assert isinstance(sandbox, Sandbox)
    assert backend.capabilities.limits <= set(Limits.model_fields)


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


def test_memory_and_file_size_are_limited(tmp_path):
    limits = Limits(memory_bytes=256 << 20, file_bytes=1 << 20)
    with BubblewrapBackend(tmp_path, limits) as backend, backend.create() as sandbox:
        hungry = sandbox.exec([sandbox.python, "-I", "-S", "-c", "bytearray(400 << 20)"])
        assert hungry.exit_code != 0
        assert hungry.exceeded == "memory" or "MemoryError" in hungry.output
        assert sandbox.exec("head -c 3000000 /dev/zero > big").exit_code != 0
        assert len(sandbox.read_file("big")) == 1 << 20
        assert sandbox.exec("ulimit -c; ulimit -t").output == "0\n21\n"


@pytest.mark.parametrize("habit", ["set -eu; ", "set -C; ", "IFS=a; ", "name=x; export name; ", "trap 'true' ERR; "])
def test_the_state_of_the_shell_survives_its_habits(sandbox, habit):
    sandbox.exec(f"{habit}mkdir here; cd here; export KEPT=yes")
    assert sandbox.exec("pwd; echo $KEPT").output == "/workspace/here\nyes\n"


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


def test_python3_is_the_interpreter_that_runs_us(sandbox):
    asks = "import sys; print(sys.version); print(sys.prefix); import json"
    known = sandbox.exec([sandbox.python, "-c", asks])
    for name in ("python3", "python"):
        assert sandbox.exec(f"{name} -c '{asks}'").output == known.output
        assert sandbox.exec([name, "-c", asks]).output == known.output
    assert sys.version in known.output
    assert known.exit_code == 0
