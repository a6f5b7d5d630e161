"""Which text of which line to replace by which: the smallest edits that lead from one text to another."""

from __future__ import annotations

import re
from typing import NamedTuple

_TOKEN = re.compile(r"\w+|[^\w\s]+|\s+")


class Edit(NamedTuple):
    """Replace `old`, which occurs once in line `line` (1-based) of a text, by `new`."""

    line: int
    old: str
    new: str


def edits(text: str, goal: str) -> list[Edit]:
    """One edit for each line of `text` that differs from the line of `goal`; both have as many lines.

    An edit replaces the words or operators that differ, and as much of what is around them as it takes to be unique.
    """
    pairs = enumerate(zip(text.split("\n"), goal.split("\n"), strict=True), 1)
    return [Edit(number, *_smallest(line, wanted)) for number, (line, wanted) in pairs if line != wanted]


def _smallest(line: str, wanted: str) -> tuple[str, str]:
    old, new = _TOKEN.findall(line), _TOKEN.findall(wanted)
    first = 0
    while first < min(len(old), len(new)) and old[first] == new[first]:
        first += 1
    last = 0
    while last < min(len(old), len(new)) - first and old[-1 - last] == new[-1 - last]:
        last += 1
    # Whole tokens on both sides, until what is replaced is there and unique; at most the whole line.
    while not (part := "".join(old[first : len(old) - last])) or line.count(part) != 1:
        if first == 0 and last == 0:
            break
        if last > 0 and (first == 0 or first >= last):
            last -= 1
        else:
            first -= 1
    return part, "".join(new[first : len(new) - last])
