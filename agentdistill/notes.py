"""What a teacher is told in private, and the mark by which it would be known again: a canary in every note."""

from __future__ import annotations

import re
from collections.abc import Mapping

from agentdistill.records import Message, derive_seed

_MARK = re.compile(r"\bnote ([0-9a-f]{12})\b")
_HEADINGS = {
    "verdict": "What the hidden check said of the run that went wrong:",
    "reference": "How the task can be solved:",
    "critique": "What went wrong:",
}


def canary(*parts: str | int) -> str:
    """A mark of 12 hex digits for one note: the same for the same parts, and nobody can guess it without them."""
    return f"{derive_seed('canary', *parts):016x}"[-12:]


def canaries(note: str) -> frozenset[str]:
    """The marks that a note carries."""
    return frozenset(_MARK.findall(note))


def private_note(told: Mapping[str, str], mark: str) -> str:
    """The note to a teacher, with its mark; empty if there is nothing to tell.

    Args:
        told: what is told by its kind (`verdict`, `reference`, `critique`), in the order it is to stand in.
        mark: a `canary`.
    """
    parts = [f"{_HEADINGS[kind]}\n{text.strip()}" for kind, text in told.items() if text.strip()]
    return "\n\n".join([f"(note {mark})", *parts]) if parts else ""


def shown(note: str) -> str:
    """The note as a model is shown it: told apart from the conversation by lines that its text cannot forge."""
    fence = canary("fence", note)
    return (
        f"--- private {fence}\n"
        "Only you can read this. Use it to act well, but act and speak as one who has found everything out from the "
        "conversation: never mention, quote or hint at it.\n\n"
        f"{note}\n"
        f"--- end of private {fence}"
    )


def with_note(messages: tuple[Message, ...], note: str) -> tuple[Message, ...]:
    """The conversation with the note below its first message.

    There, no chat template is broken by it (many want roles to alternate), and what a server has cached of the prompt
    stays good from turn to turn.
    """
    if not messages:
        return (Message(role="user", content=shown(note)),)
    first = messages[0]
    if first.role not in ("system", "user"):
        return (Message(role="user", content=shown(note)), *messages)
    told = first.model_copy(update={"content": f"{first.content}\n\n{shown(note)}".strip()})
    return (told, *messages[1:])
