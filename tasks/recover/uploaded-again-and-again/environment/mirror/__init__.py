"""Keeps a remote copy of a folder of notes."""

from mirror.notes import Note, read_folder
from mirror.plan import Plan, make_plan
from mirror.remote import Remote, Unreachable
from mirror.state import load_state, save_state
from mirror.sync import sync

__all__ = [
    "Note",
    "Plan",
    "Remote",
    "Unreachable",
    "load_state",
    "make_plan",
    "read_folder",
    "save_state",
    "sync",
]
