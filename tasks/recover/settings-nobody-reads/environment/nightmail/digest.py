"""Makes a digest of events."""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass

from nightmail.settings import Settings


@dataclass(frozen=True)
class Event:
    """Something that happened."""

    at: datetime.datetime
    kind: str
    text: str


def compose(events: Iterable[Event], settings: Settings) -> str:
    """The latest events that the settings allow, oldest first, under the subject.

    A last line says how many more there were.
    """
    wanted = [event for event in events if not settings.kinds or event.kind in settings.kinds]
    wanted.sort(key=lambda event: event.at)
    left_out = max(0, len(wanted) - settings.limit)
    lines = [settings.subject]
    lines += [f"{event.at:%H:%M} {event.kind}: {event.text}" for event in wanted[left_out:]]
    if left_out:
        lines.append(f"... and {left_out} more")
    return "\n".join(lines)
