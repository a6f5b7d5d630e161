"""Which text of which line to replace by which: the smallest edits that lead from one text to another."""

from __future__ import annotations

import re
from typing import NamedTuple

_TOKEN = re.compile(r"\w+|[^\w\s]+|\s+")


class Edit(NamedTuple):
    """Replace `old` by `new` in line `line` (1-based), where `old` occurs once; it is empty only if the line is."""

    line: int
    old: str
    new: str


class Done(NamedTuple):
    """An edit that was made: what line `line` (1-based) said before and after."""

    line: int
    before: str
    after: str


def edits(text: str, goal: str) -> list[Edit]:
    """One edit for each line of `text` that differs from the line of `goal`, in their order.

    An edit replaces the words or operators that differ, and as much of what is around them as it takes to be unique.

    Raises:
        ValueError: the texts differ in their number of lines.
    """
    pairs = enumerate(zip(text.split("\n"), goal.split("\n"), strict=True), 1)
    return [Edit(number, *_smallest(line, wanted)) for number, (line, wanted) in pairs if line != wanted]


def occurrences(line: str, part: str) -> int:
    """How often `part` occurs in `line`, overlaps counted: where it is once, nothing else could be meant."""
    return len(re.findall(f"(?={re.escape(part)})", line))


def _smallest(line: str, wanted: str) -> tuple[str, str]:
    old, new = _TOKEN.findall(line), _TOKEN.findall(wanted)
    shorter = min(len(old), len(new))
    first = 0
    while first < shorter and old[first] == new[first]:
        first += 1
    last = 0
    while last < shorter - first and old[-1 - last] == new[-1 - last]:
        last += 1
    part = "".join(old[first : len(old) - last])
    # Whole tokens on both sides, until what is replaced is there and unique; at most the whole line.
    while (first or last) and (not part or occurrences(line, part) != 1):
        if last > 0 and (first == 0 or first >= last):
            last -= 1
        else:
            first -= 1
        part = "".join(old[first : len(old) - last])
    return part, "".join(new[first : len(new) - last])
