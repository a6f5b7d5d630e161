"""The host's end of the line: an agent that lies, hangs, floods or dies makes a lost sandbox, and nothing worse."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from agents import agent_of

from agentdistill.errors import SandboxError, SandboxLostError
from agentdistill.sandbox import guest
from agentdistill.sandbox.bubblewrap import BubblewrapBackend
from agentdistill.sandbox.guest import Guest
from agentdistill.sandbox.inside import wire


class Line:
    """A connection to `speak`, which runs in a thread and has the other end of a socket."""

    def __init__(self, speak: Callable[[socket.socket], object]) -> None:
        self._socket, theirs = socket.socketpair()
        self.closed = False

        def run() -> None:
            with theirs:
                speak(theirs)

        threading.Thread(target=run, daemon=True).start()

    def send(self, data: bytes | bytearray, deadline: float) -> None:
        self._socket.settimeout(max(0.001, deadline - time.monotonic()))
        self._socket.sendall(data)

    def receive(self, size: int, deadline: float) -> bytes:
        self._socket.settimeout(max(0.001, deadline - time.monotonic()))
        return self._socket.recv(size)

    def exceeded(self) -> str:
        return ""

    def last_words(self) -> str:
        return "its last words"

    def interrupt(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.closed = True
        self._socket.close()


def frame(head: bytes, body: bytes = b"") -> bytes:
    return wire.header(head, len(body)) + head + body


GARBAGE = {
    "no frame": b"\xff" * 40,
    "a head that is no value": frame(b"hello"),
    "a reply that is no dict": frame(wire.dumps([1])),
    "a head without end": wire.header(b"", 0)[:4].replace(b"\0", b"\x7f") + bytes(8),
    "a body larger than was asked for": frame(wire.dumps({}), b"x" * 11),
    "half a frame": frame(wire.dumps({"a": 1}))[:-1],
    "nothing": b"",
}


@pytest.mark.parametrize("said", GARBAGE.values(), ids=GARBAGE)
def test_what_is_no_reply_makes_the_sandbox_a_lost_one(said):
    line = Line(lambda end: (end.recv(1000), end.sendall(said)))
    asked = Guest(line)
    with pytest.raises(SandboxLostError, match="its last words"):
        asked.ask({"do": "x"}, largest=10)
    assert line.closed
    with pytest.raises(SandboxLostError, match="is gone"):
        asked.ask({"do": "x"})


def test_an_agent_that_does_not_answer_is_lost_in_time(monkeypatch):
    monkeypatch.setattr(guest, "PATIENCE", 0.2)
    asked = Guest(Line(lambda end: time.sleep(3)))
    began = time.monotonic()
    with pytest.raises(SandboxLostError, match="does not answer"):
        asked.ask({"do": "x"})
    assert time.monotonic() - began < 2


def test_an_agent_that_does_not_listen_is_lost_in_time(monkeypatch):
    monkeypatch.setattr(guest, "PATIENCE", 0.3)
    asked = Guest(Line(lambda end: time.sleep(3)))
    with pytest.raises(SandboxLostError, match="does not answer"):
        asked.ask({"do": "x"}, [bytes(1 << 20)] * 20, 20 << 20)


@pytest.mark.parametrize(
    ("kind", "error"),
    [("missing", FileNotFoundError), ("refused", PermissionError), ("odd", SandboxError), (7, SandboxError)],
)
def test_a_refusal_is_told_and_the_agent_asked_again(kind, error):
    def speak(end: socket.socket) -> None:
        while end.recv(1000):
            end.sendall(frame(wire.dumps({"error": kind, "detail": "x" * 5000})))

    asked = Guest(Line(speak))
    for _ in range(2):
        with pytest.raises(error) as caught:
            asked.ask({"do": "x"})
        assert not isinstance(caught.value, SandboxLostError)
        assert len(str(caught.value)) < 3000


def test_closing_wakes_whoever_waits(backend):
    sandbox = backend.create()
    said = []

    def wait() -> None:
        try:
            sandbox.exec("sleep 8")
        except SandboxLostError as error:
            said.append(str(error))

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.3)
    began = time.monotonic()
    sandbox.close()
    waiting.join(5)
    assert said == ["the sandbox is closed"]
    assert time.monotonic() - began < 5


def test_a_sandbox_outlives_the_thread_that_made_it(backend):
    made = []
    maker = threading.Thread(target=lambda: made.append(backend.create()))
    maker.start()
    maker.join()
    time.sleep(0.2)
    with made[0] as sandbox:
        assert sandbox.exec(["echo", "alive"]).output == "alive\n"


def test_an_agent_that_is_killed_is_a_lost_sandbox_and_others_go_on(backend):
    with backend.create() as first, backend.create() as second:
        os.kill(agent_of(first), signal.SIGKILL)
        with pytest.raises(SandboxLostError, match="its agent ended"):
            first.exec(["echo", "alive"])
        assert second.exec(["echo", "alive"]).output == "alive\n"


def test_an_agent_whose_companion_was_killed_is_gone_with_its_sandbox(backend):
    with backend.create() as sandbox:
        agent = agent_of(sandbox)
        os.kill(parent_of(agent), signal.SIGKILL)
        with suppress(SandboxLostError):
            sandbox.exec(["sleep", "1"])
    wait_until_gone(agent)


def test_all_agents_are_gone_with_the_process_that_forked_them_and_another_one_forks_the_next(tmp_path):
    with BubblewrapBackend(tmp_path) as backend, backend.create() as first, backend.create() as second:
        agents = [agent_of(first), agent_of(second)]
        (server,) = {parent_of(parent_of(agent)) for agent in agents}
        os.kill(server, signal.SIGKILL)
        for agent in agents:
            wait_until_gone(agent)
        for sandbox in (first, second):
            with pytest.raises(SandboxLostError):
                sandbox.exec(["echo", "alive"])
        for _ in range(3):  # the one that was ready is among the dead
            with backend.create() as third:
                assert third.exec(["echo", "alive"]).output == "alive\n"


def test_an_agent_keeps_nothing_of_the_process_that_forked_it(backend, tmp_path):
    with backend.create() as sandbox:
        agent = agent_of(sandbox)
        namespaces = {name: os.readlink(f"/proc/{agent}/ns/{name}") for name in os.listdir(f"/proc/{agent}/ns")}
        ours = {name: os.readlink(f"/proc/self/ns/{name}") for name in namespaces}
        assert {name for name in namespaces if namespaces[name] == ours[name]} <= {"time", "time_for_children"}
        shown = {os.readlink(f"/proc/{agent}/fd/{number}") for number in os.listdir(f"/proc/{agent}/fd")}
        opened = {name for name in shown if not name.startswith(("socket:", "pipe:", "anon_inode:", "/dev/null"))}
        assert {name.rpartition("/")[2] for name in opened} == {"oom_score_adj"}
        assert Path(f"/proc/{agent}/environ").read_bytes() == b""
        assert os.readlink(f"/proc/{agent}/root") == os.readlink(f"/proc/{agent}/cwd") == "/"
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{agent}/status").read_text().splitlines())
        assert (status["NoNewPrivs"], status["Seccomp"], int(status["CapBnd"], 16)) == ("1", "2", 0)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def wait_until_gone(pid: int) -> None:
    end = time.monotonic() + 5
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < end, "it lives on"
        time.sleep(0.01)


def test_ctrl_c_at_the_terminal_does_not_reach_the_sandboxes(backend, tmp_path):
    code = (
        "import os, signal, sys; from agentdistill.sandbox.bubblewrap import BubblewrapBackend\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with BubblewrapBackend() as backend, backend.create() as sandbox:\n"
        "    signal.signal(signal.SIGINT, signal.SIG_IGN); os.killpg(0, signal.SIGINT)\n"
        "    print(sandbox.exec(['echo', 'alive']).output)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, process_group=0, timeout=60)
    assert ended.stdout.strip() == "alive", ended.stderr


def test_the_agent_runs_nowhere_but_as_the_first_process_of_a_namespace():
    code = "from agentdistill.sandbox.inside.__main__ import main; main()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert ended.returncode == 1
    assert "first process of a sandbox only" in ended.stderr
