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

from agentdistill.errors import SandboxError, SandboxLostError
from agentdistill.sandbox import guest
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
    before = agents()
    with backend.create() as first, backend.create() as second:
        (victim, _) = sorted(agents() - before)
        os.kill(victim, signal.SIGKILL)
        outcomes = []
        for sandbox in (first, second):
            try:
                outcomes.append(sandbox.exec(["echo", "alive"]).output)
            except SandboxLostError:
                outcomes.append("lost")
        assert sorted(outcomes) == ["alive\n", "lost"]


def test_an_agent_whose_bwrap_was_killed_is_gone_with_its_sandbox(backend):
    before = agents()
    with backend.create() as sandbox:
        (agent,) = agents() - before
        parent = Path(f"/proc/{agent}/stat").read_text().rpartition(")")[2].split()[1]
        os.kill(int(parent), signal.SIGKILL)
        with suppress(SandboxLostError):
            sandbox.exec(["sleep", "1"])
    end = time.monotonic() + 5
    while Path(f"/proc/{agent}/cmdline").exists() and Path(f"/proc/{agent}/cmdline").read_bytes():
        assert time.monotonic() < end, "it lives on"
        time.sleep(0.01)


def agents() -> set[int]:
    """The agents of this machine that we started."""
    found = set()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if b"from inside.__main__" in (place / "cmdline").read_bytes():
                parent = (place / "stat").read_text().rpartition(")")[2].split()[1]
                grandparent = Path("/proc", parent, "stat").read_text().rpartition(")")[2].split()[1]
                if grandparent == str(os.getpid()) and b"--as-pid-1" not in (place / "cmdline").read_bytes():
                    found.add(int(place.name))
        except OSError:
            continue
    return found


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
