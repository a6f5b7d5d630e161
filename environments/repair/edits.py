"""Which text to replace by which: the smallest edit a person would make, exact and unique in the file."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Sequence

_TOKEN = re.compile(r"\w+|[^\w\s]+|\n|[^\S\n]+")
_MOST_HUNKS, _LONGEST_DIFF = 3, 4000


def quotes(text: str, goal: str) -> list[str]:
    """The places in `text` that differ from `goal`, each as a person would quote it."""
    old_tokens, new_tokens = _TOKEN.findall(text), _TOKEN.findall(goal)
    return [_widened(old_tokens, *hunk)[0] for hunk in _hunks(old_tokens, new_tokens)]


def first_edit(text: str, goal: str, spare: int) -> tuple[str, str]:
    """The next edit from `text` towards `goal`: `old`, which occurs once in `text`, and `new`.

    One difference at a time where `spare` steps allow, each with a word on either side; all of them in one edit else.
    """
    old_tokens, new_tokens = _TOKEN.findall(text), _TOKEN.findall(goal)
    hunks = _hunks(old_tokens, new_tokens) if len(text) + len(goal) <= _LONGEST_DIFF else []
    if not hunks or len(hunks) > _MOST_HUNKS or len(hunks) - 1 > spare:
        hunks = [_whole(old_tokens, new_tokens)]
    start, end, replacement = hunks[0]
    return _widened(old_tokens, start, end, replacement)


def _hunks(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int, list[str]]]:
    """Where the texts differ: first and last token in `old`, and what is to stand there instead."""
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    return [(i1, i2, list(new[j1:j2])) for kind, i1, i2, j1, j2 in matcher.get_opcodes() if kind != "equal"]


def _whole(old: Sequence[str], new: Sequence[str]) -> tuple[int, int, list[str]]:
    """One hunk that spans every difference."""
    first = 0
    while first < min(len(old), len(new)) and old[first] == new[first]:
        first += 1
    last = 0
    while last < min(len(old), len(new)) - first and old[-1 - last] == new[-1 - last]:
        last += 1
    return first, len(old) - last, list(new[first : len(new) - last])


def _widened(tokens: Sequence[str], start: int, end: int, replacement: Sequence[str]) -> tuple[str, str]:
    """The hunk with a word on either side of it in its line, then with more, until it occurs once."""
    text = "".join(tokens)
    left, right = _word_before(tokens, start), _word_after(tokens, end)
    for attempt in itertools.count():
        old = "".join(tokens[left:right])
        if old and text.count(old) == 1 and text.find(old) == len("".join(tokens[:left])):
            break
        if left == 0 and right == len(tokens):
            break
        stride = 1 + attempt * attempt // 64  # a long text of one word over and over is soon taken whole
        left, right = max(0, left - stride), min(len(tokens), right + stride)
    return old, "".join((*tokens[left:start], *replacement, *tokens[end:right]))


def _word_before(tokens: Sequence[str], start: int) -> int:
    """Where the word before `start` begins; no further than the line."""
    for place in range(start - 1, -1, -1):
        if tokens[place] == "\n":
            break
        if tokens[place][0].isalnum() or tokens[place][0] == "_":
            return place
    return start


def _word_after(tokens: Sequence[str], end: int) -> int:
    """Where the word after `end` ends; without one, where the line does."""
    for place in range(end, len(tokens)):
        if tokens[place] == "\n":
            return place
        if tokens[place][0].isalnum() or tokens[place][0] == "_":
            return place + 1
    return len(tokens)
