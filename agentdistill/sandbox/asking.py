"""What a store of snapshots asks the agent in a sandbox: how its tree looks, and for the contents it offers.

Nothing is taken on trust: every object is checked against the digest that it is said to have, and sizes are bounded.
The functions raise ValueError, KeyError or TypeError where an agent does not answer as agents do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from agentdistill.errors import SnapshotError
from agentdistill.sandbox.base import LiveProcesses
from agentdistill.sandbox.inside.tree_objects import DIGEST, content_digest, decode_offer, digest

BATCH = 32 << 20
"""Bytes of contents that are asked for, and held in memory, at once; a single file may be larger."""
_INLINE = 8 << 20
"""Bytes of contents that come with a look."""
_LARGEST_REPLY = 1 << 30
_OFFERED = DIGEST + 8


class Ask(Protocol):
    """One round trip to an agent; see `Guest.ask`."""

    def __call__(
        self, request: Mapping[str, Any], body: Iterable[bytes] = (), size: int = 0, *, largest: int = 0
    ) -> tuple[dict[str, Any], bytes]:
        """Send a request, return the reply."""
        ...


@dataclass(frozen=True)
class Look:
    """What an agent has told of its tree, each object checked against its digest."""

    tree: bytes
    structure: dict[bytes, bytes]
    contents: dict[bytes, bytes]
    larger: dict[bytes, int]
    """Contents that did not come along, and their sizes in bytes."""
    live: LiveProcesses


def look(ask: Ask, offer: str, *, held: bytes = b"", anew: bool = False) -> Look:
    """Have the agent look at its tree.

    Args:
        ask: the agent.
        offer: what it is to offer: ``all``, ``structure`` (no contents) or ``nothing``.
        held: digest of a tree that we have all of.
        anew: whether we may have lost what it gave before.
    """
    request = {"do": "look", "offer": offer, "inline": _INLINE, "held": held, "anew": anew}
    head, body = ask(request, largest=_LARGEST_REPLY)
    at = head["count"] * _OFFERED
    contents: dict[bytes, bytes] = {}
    structure: dict[bytes, bytes] = {}
    larger: dict[bytes, int] = {}
    for index, (name, size) in enumerate(decode_offer(body[:at])):
        if index >= head["inlined"]:
            larger[name] = size
            continue
        content = body[at : at + size]
        at += size
        if index < head["structure"]:
            structure[name] = _checked(name, content, digest(content))
        else:
            contents[name] = _checked(name, content, content_digest((content,)))
    if at != len(body) or len(head["tree"]) != DIGEST:
        raise ValueError("the reply to a look is malformed")
    commands = tuple(sorted(line.decode(errors="replace") for line in head.get("commands", ())))
    live = LiveProcesses(commands, tuple(sorted(int(port) for port in head.get("ports", ()))))
    return Look(head["tree"], structure, contents, larger, live)


def sent(ask: Ask, batch: Mapping[bytes, int]) -> dict[bytes, bytes]:
    """Contents that the agent has offered."""
    at = len(batch) * _OFFERED
    _, body = ask({"do": "send"}, [b"".join(batch)], len(batch) * DIGEST, largest=at + sum(batch.values()))
    contents: dict[bytes, bytes] = {}
    if decode_offer(body[:at]) != list(batch.items()):
        raise ValueError("an agent sends what it was not asked for")
    for name, size in batch.items():
        content = body[at : at + size]
        contents[name] = _checked(name, content, content_digest((content,)))
        at += size
    return contents


def batches(sizes: Mapping[bytes, int]) -> Iterator[dict[bytes, int]]:
    """Contents in batches of about `BATCH` bytes."""
    batch: dict[bytes, int] = {}
    room = BATCH
    for name, size in sizes.items():
        if size > _LARGEST_REPLY:
            raise SnapshotError(f"a file of {size} bytes is too large to keep")
        if batch and size > room:
            yield batch
            batch, room = {}, BATCH
        batch[name] = size
        room -= size
    if batch:
        yield batch


def _checked(name: bytes, content: bytes, found: bytes) -> bytes:
    if found != name:
        raise ValueError("an agent gives something under another digest than its own")
    return content
