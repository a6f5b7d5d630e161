"""What a command writes comes back whole or visibly cut, as text that is safe to keep, in bounded memory of ours."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from agentdistill.testing.sandboxes.bench import Bench, one_line, require
from agentdistill.testing.sandboxes.programs import run_inside

BOUND = 64 << 20
"""Bytes that our memory may grow by while a command writes without end."""

# ---- programs --------------------------------------------------------------------------------------------------------


def _writes(total: str, text: str) -> str:
    """Write `text` over and over, `total` bytes in all."""
    import os
    import sys

    piece = text.encode() * (65536 // len(text.encode()))
    left = int(total)
    sys.stdout.flush()
    while left:
        left -= os.write(1, piece[:left])
    return ""


def _writes_bytes(hexadecimal: str) -> str:
    import os

    os.write(1, bytes.fromhex(hexadecimal))
    return ""


def _writes_in_turns(turns: str) -> str:
    import os

    for number in range(int(turns)):
        os.write(1 + number % 2, (str(number) + "\n").encode())
    return ""


# ---- how much --------------------------------------------------------------------------------------------------------


def endless_output_is_cut(bench: Bench) -> str:
    """Output without end is cut to head and tail, a mark says how many bytes are missing, and all of it is drained."""
    sandbox = bench.sandbox()
    total = 20_000_000
    line = "line of text\n"
    result = run_inside(sandbox, _writes, str(total), line)
    require(result.exit_code == 0, f"it ended with {result.exit_code}")
    require(result.truncated, "it is not told that something is missing")
    kept = result.output.encode()
    require(len(kept) <= bench.limits.output_bytes + 200, f"{len(kept)} bytes were kept")
    whole = (line * (total // len(line) + 1))[:total] + "reached: \n"
    head = _common(result.output, whole)
    tail = _common(result.output[::-1], whole[::-1])
    mark = result.output[head : len(result.output) - tail]
    numbers = [int(number) for number in re.findall(r"\d+", mark)]
    require(min(head, tail) >= bench.limits.output_bytes // 4, f"kept {head} bytes of the head, {tail} of the tail")
    missing = len(whole) - head - tail
    # The mark's own first or last characters may by chance be those of the text.
    require(
        any(abs(number - missing) <= 2 for number in numbers), f"{missing} bytes are missing, the mark says {mark!r}"
    )
    return one_line(mark)


def endless_output_ends_with_its_time(bench: Bench) -> str:
    """A command that writes for ever is ended when its time is up, and head and tail of what it wrote are kept."""
    with _bounded_memory() as grown:
        result = bench.sandbox().exec("while :; do echo yes; done", timeout=2)
    require(result.timed_out and result.truncated, f"it came back as exit code {result.exit_code}")
    require(result.output.startswith("yes\nyes\n"), f"it begins with {one_line(result.output[:40])}")
    require(result.seconds < 20, f"it took {result.seconds:.1f} s")
    return f"{result.seconds:.1f} s, our memory grew by {grown[0] >> 20} MiB"


def one_line_of_a_gigabyte_is_cut(bench: Bench) -> str:
    """A single line of a gigabyte passes through bounded memory of the host."""
    with _bounded_memory() as grown:
        result = run_inside(bench.sandbox(), _writes, str(1 << 30), "x")
    require(result.truncated, f"it came back whole, or not at all: {one_line(result.output)}")
    require(len(result.output) <= bench.limits.output_bytes + 200, f"{len(result.output)} characters were kept")
    return f"{result.seconds:.1f} s, our memory grew by {grown[0] >> 20} MiB"


def short_output_is_whole(bench: Bench) -> None:
    """Output up to the limit comes back as it was, unmarked."""
    length = bench.limits.output_bytes - len("reached: \n")
    result = run_inside(bench.sandbox(), _writes, str(length), "x")
    require(not result.truncated, "it is told that something is missing")
    require(result.output == "x" * length + "reached: \n", f"{len(result.output)} characters came back")


def both_outputs_come_in_order(bench: Bench) -> None:
    """Standard output and standard error come as they were written."""
    result = run_inside(bench.sandbox(), _writes_in_turns, "200")
    require(result.output.startswith("".join(f"{n}\n" for n in range(200))), "they come in another order")


# ---- of what kind ----------------------------------------------------------------------------------------------------


def nul_bytes_come_through(bench: Bench) -> None:
    """NUL bytes are kept."""
    _comes_back(bench, b"a\0b\0\0c", "a\0b\0\0c")


def bytes_that_are_not_utf8_become_text(bench: Bench) -> None:
    """Bytes that are not UTF-8, surrogates and cut characters come back as replacement characters."""
    _comes_back(bench, b"a\xff\xfeb", "a\ufffd\ufffdb")
    result = run_inside(bench.sandbox(), _writes_bytes, b"\xed\xa0\x80 \xc3\x28 \xf0\x9f\x98 \x80".hex())
    require("\ufffd" in result.output, "they are gone")
    _is_safe(result.output)


def character_on_the_cut_stays_text(bench: Bench) -> None:
    """Where a cut goes through a character, what is left of it is made text as well."""
    for shift in ("", "x", "xx"):
        result = bench.sandbox().exec(f"printf '{shift}'; while :; do echo €€€€€€€€€€; done", timeout=0.5)
        require(result.truncated, "nothing was cut")
        _is_safe(result.output)


def terminal_sequences_come_through(bench: Bench) -> None:
    """ANSI and OSC sequences, bells, carriage returns and backspaces are kept as they are, and do nothing here."""
    hostile = "\x1b[2J\x1b[31mred\x1b]0;title\x07\x1b]52;c;aGk=\x07\x1bP$q\x1b\\ over\rwrite\b\b\x9b31m\x07"
    _comes_back(bench, hostile.encode(), hostile)


def bidirectional_characters_come_through(bench: Bench) -> None:
    """Characters that turn the direction of writing, and those without width, are kept as they are."""
    hostile = "\u202eevil\u202c \u2066x\u2069 \u200b\u200e\ufeff \u0430dmin"
    _comes_back(bench, hostile.encode(), hostile)


def markup_comes_through(bench: Bench) -> None:
    """What would be markup in a page or a log is kept as it is."""
    hostile = "<script>alert(1)</script> &amp; [bold]x[/bold] ${jndi:ldap://x} %s%n </pre>"
    _comes_back(bench, hostile.encode(), hostile)


def _comes_back(bench: Bench, written: bytes, expected: str) -> None:
    result = run_inside(bench.sandbox(), _writes_bytes, written.hex())
    require(result.output == expected + "reached: \n", f"it came back as {result.output!r}")
    _is_safe(result.output)


def _is_safe(text: str) -> None:
    """Text that can be encoded, and that survives JSON."""
    text.encode()
    require(json.loads(json.dumps(text)) == text, "it does not survive JSON")


def _common(one: str, other: str) -> int:
    """Length of what two texts begin with alike."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


@contextmanager
def _bounded_memory() -> Iterator[list[int]]:
    """Watch how our own memory grows; the list holds the most, in bytes.

    Raises:
        Failed: it grew too much.
    """
    over = threading.Event()
    grown = [0]
    before = _memory()

    def watch() -> None:
        while not over.wait(0.01):
            grown[0] = max(grown[0], _memory() - before)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield grown
    finally:
        over.set()
        thread.join()
    require(grown[0] < BOUND, f"our memory grew by {grown[0] >> 20} MiB")


def _memory() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
