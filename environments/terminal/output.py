"""What a model is shown of long texts, and what it is told when an edit does not fit."""

from __future__ import annotations

import difflib
import re

from agentdistill.errors import ToolError

_MOST_NAMED = 10
_MOST_QUOTED = 200  # characters of a line in a complaint
_UNITTEST = re.compile(r"^Ran (\d+) tests? in [\d.]+s\s+^(?:OK|FAILED)(?: \(([^)\n]*)\))?$", re.MULTILINE)
_PYTEST = re.compile(r"^(?:=+ )?((?:\d+ [a-z]+(?:, )?)+) in [\d.]+s", re.MULTILINE)


def cut(text: str, most_lines: int, most_characters: int) -> str:
    """Head and tail of `text`, with a line between that says how much was left out.

    Lines are cut first, then characters, half of each at either end.
    """
    lines = text.splitlines(keepends=True)
    left_out = len(lines) - most_lines
    if left_out > 0:
        head, tail = lines[: (most_lines + 1) // 2], lines[len(lines) - most_lines // 2 :]
        between = len(text) - len("".join(head)) - len("".join(tail))
        text = f"{''.join(head)}[... {left_out} lines, {between} characters left out ...]\n{''.join(tail)}"
    excess = len(text) - most_characters
    if excess > 0:
        half = most_characters // 2
        text = f"{text[: most_characters - half]}\n[... {excess} characters left out ...]\n{text[len(text) - half :]}"
    return text


def lines_of(text: str) -> list[str]:
    r"""The lines of a file with their ends, as editors, `grep -n` and `sed` count them: only ``\n`` ends one.

    `str.splitlines` would also break at form feeds and the like, which lie within a line.
    """
    lines = text.split("\n")
    ended = [f"{line}\n" for line in lines[:-1]]
    return [*ended, lines[-1]] if lines[-1] else ended


def replaced(path: str, text: str, old: str, new: str) -> tuple[str, int]:
    """`text` with its only `old` replaced by `new`, and the line, from 1, at which that begins.

    Raises:
        ToolError: `old` is not there, or more than once; says where something like it stands.
    """
    if not old:
        raise ToolError("old is empty: give the exact text to replace, or use insert")
    count = text.count(old)
    if count == 1:
        return text.replace(old, new), text[: text.index(old)].count("\n") + 1
    if not count:
        raise ToolError(f"old does not occur in {path}{_nearest(text, old)}")
    starts = [found.start() for found in re.finditer(re.escape(old), text)]
    numbers = [str(text[:start].count("\n") + 1) for start in starts[:_MOST_NAMED]]
    more = ", ..." if count > _MOST_NAMED else ""
    raise ToolError(
        f"old occurs {count} times in {path}, at lines {', '.join(numbers)}{more}: give more of the text around it"
    )


def numbered(lines: list[str], first: int) -> str:
    """Lines with their numbers, from `first` on."""
    return "".join(f"{number}\t{line}\n" for number, line in enumerate(lines, first))


def counted_tests(output: str) -> dict[str, int]:
    """How many tests passed and failed, by the last summary of unittest or pytest in a command's output, if any."""
    found = [(each.start(), each) for pattern in (_UNITTEST, _PYTEST) for each in pattern.finditer(output)]
    if not found:
        return {}
    summary = max(found, key=lambda pair: pair[0])[1]
    if summary.re is _UNITTEST:
        numbers = dict(re.findall(r"(\w[\w ]*)=(\d+)", summary[2] or ""))
        failed = sum(int(numbers.get(kind, 0)) for kind in ("failures", "errors", "unexpected successes"))
        return {
            "tests_passed": max(0, int(summary[1]) - failed - int(numbers.get("skipped", 0))),
            "tests_failed": failed,
        }
    numbers = {kind: int(number) for number, kind in re.findall(r"(\d+) ([a-z]+)", summary[1])}
    failed = sum(numbers.get(kind, 0) for kind in ("failed", "error", "errors"))
    return {"tests_passed": numbers.get("passed", 0), "tests_failed": failed}


def _nearest(text: str, old: str) -> str:
    """Where in the text something like the first line of `old` stands."""
    wanted = next((line for line in old.split("\n") if line.strip()), "")
    lines = text.split("\n")
    same = [number for number, line in enumerate(lines, 1) if line.strip() == wanted.strip() != ""]
    if same:
        told = (
            "its first line does, at line" if wanted in text else "its first line does with other white space, at line"
        )
        return f"; {told} {same[0]}: {_quoted(lines[same[0] - 1])}"
    close = difflib.get_close_matches(wanted, lines[:5000], n=1, cutoff=0.5)
    return f"; the nearest line is {lines.index(close[0]) + 1}: {_quoted(close[0])}" if close else ""


def _quoted(line: str) -> str:
    return repr(line) if len(line) <= _MOST_QUOTED else f"{line[:_MOST_QUOTED]!r}..."
