"""What a sync has to do."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mirror.notes import Note


@dataclass(frozen=True)
class Plan:
    """Notes to upload, and keys to delete at the remote, each sorted by key."""

    uploads: tuple[Note, ...]
    deletions: tuple[str, ...]


def make_plan(notes: Iterable[Note], sent: Mapping[str, str]) -> Plan:
    """Upload what was not sent as it is now; delete what was sent and is gone.

    Raises:
        ValueError: two notes have the same key.
    """
    current: dict[str, Note] = {}
    for note in notes:
        if note.key in current:
            raise ValueError(f"two notes are called {note.key!r}")
        current[note.key] = note
    uploads = [current[key] for key in sorted(current) if sent.get(key) != current[key].fingerprint]
    deletions = [key for key in sorted(sent) if key not in current]
    return Plan(tuple(uploads), tuple(deletions))
