"""Who lives in the sandbox between two commands: listing, and holding still while the workspace is looked at."""

import _signal as signal  # type: ignore[import-not-found]
import os
import time

from .commands import everyone, status_of

_LONGEST_LINE = 500
_PATIENCE = 5.0
_LISTENING = b"0A"


def living() -> "tuple[list[bytes], list[int]]":
    """Command lines of the processes that live, and TCP ports they listen on; both sorted."""
    lines = []
    ports: set[int] = set()
    for pid in everyone():
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                line = file.read(_LONGEST_LINE).rstrip(b"\0").replace(b"\0", b" ")
            if not line:
                with open(f"/proc/{pid}/comm", "rb") as file:
                    line = b"[" + file.read(_LONGEST_LINE).strip() + b"]"
        except (FileNotFoundError, ProcessLookupError):
            continue
        lines.append(line)
        # All have the same; `/proc/net` is ours, which may be hidden from ourselves, too.
        ports = ports or _listening(pid)
    return sorted(lines), sorted(ports)


def _listening(pid: int) -> "set[int]":
    ports = set()
    for table in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{pid}/net/{table}", "rb") as file:
                rows = file.read().splitlines()[1:]
        except OSError:
            continue
        ports |= {int(fields[1].rpartition(b":")[2], 16) for row in rows if (fields := row.split())[3] == _LISTENING}
    return ports


def freeze() -> "list[int]":
    """Stop every other process and return those that ran; whoever was stopped already is left out.

    Raises:
        TimeoutError: somebody does not stop.
    """
    stopped: list[int] = []
    deadline = time.monotonic() + _PATIENCE
    while True:
        states = {pid: (status_of(pid) or [b"Z"])[0] for pid in everyone()}
        running = [pid for pid, state in states.items() if state not in (b"T", b"t", b"Z", b"X")]
        if not running:
            return stopped
        if time.monotonic() > deadline:
            thaw(stopped)
            raise TimeoutError("a process does not stop")
        for pid in running:
            if pid not in stopped:
                _tell(pid, signal.SIGSTOP)
                stopped.append(pid)
        time.sleep(0.0005)


def thaw(stopped: "list[int]") -> None:
    """Let go on whom `freeze` stopped."""
    for pid in stopped:
        _tell(pid, signal.SIGCONT)


def _tell(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
