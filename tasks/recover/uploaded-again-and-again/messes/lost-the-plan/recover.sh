#!/bin/bash
set -e
cat docs/keys.md mirror/sync.py tests/test_mirror.py
cat > mirror/plan.py <<'PYTHON'
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
    present: dict[str, Note] = {}
    for note in notes:
        if note.key in present:
            raise ValueError(f"two notes are called {note.key!r}")
        present[note.key] = note
    uploads = [present[key] for key in sorted(present) if sent.get(key) != present[key].fingerprint]
    return Plan(tuple(uploads), tuple(key for key in sorted(sent) if key not in present))
PYTHON
sed -i 's/ in plan.uploads or notes:$/ in plan.uploads:/' mirror/sync.py
# State files of old times have backslashes.
sed -i 's/^from pathlib import Path$/&\n\nfrom mirror.keys import clean_key/; s/{key: str(value)/{clean_key(key): str(value)/; s/{key: sent\[key\]/{clean_key(key): sent[key]/' mirror/state.py
sed -i '/^def portable_key/,$d' mirror/keys.py
python3 -m unittest
