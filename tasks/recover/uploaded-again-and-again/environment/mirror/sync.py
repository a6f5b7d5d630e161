"""Brings the remote up to date."""

from collections.abc import Iterable
from pathlib import Path

from mirror.notes import Note
from mirror.plan import Plan, make_plan
from mirror.remote import Remote
from mirror.state import load_state, save_state


def sync(notes: Iterable[Note], remote: Remote, state: Path | str) -> Plan:
    """Upload and delete what is needed, uploads first, and say what that was.

    Whatever happens, the state file tells afterwards what the remote has got.

    Raises:
        Unreachable: the remote stopped answering; a later sync goes on from there.
    """
    sent = load_state(state)
    plan = make_plan(notes, sent)
    try:
        for note in plan.uploads:
            remote.upload(note)
            sent[note.key] = note.fingerprint
        for key in plan.deletions:
            remote.delete(key)
            del sent[key]
    finally:
        save_state(state, sent)
    return plan
