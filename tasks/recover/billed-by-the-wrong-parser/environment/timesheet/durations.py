"""Durations as people write them: ``1h 30m``."""

import re

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?")


class BadDuration(ValueError):
    """This is no duration."""


def parse_duration(text: str) -> int:
    """The minutes that `text` stands for.

    Raises:
        BadDuration: it cannot be read.
    """
    compact = "".join(text.split()).lower()
    match = _DURATION.fullmatch(compact)
    if not compact or match is None:
        raise BadDuration(f"cannot read {text!r}")
    hours, minutes = (int(part or 0) for part in match.groups())
    return hours * 60 + minutes


def format_duration(minutes: int) -> str:
    """Minutes as hours and two digits of minutes, as in ``1:05``."""
    return f"{minutes // 60}:{minutes % 60:02d}"
