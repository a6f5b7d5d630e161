"""Anything that may be done to a tree (see `acts`), and an agent without a sandbox."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from agentdistill.sandbox.inside import wire
from agentdistill.sandbox.inside.trees import Workspace

NAMES = [b"a", b"b", b"a.b", b"-rf", b"new\nline", b"\xff\xfe", "ünï".encode(), b".hidden", b"n" * 255]
PATHS = [
    b"/".join(parts)
    for parts in [(x,) for x in NAMES]
    + [(x, y) for x in NAMES[:3] for y in NAMES]
    + [(x, y, z) for x in NAMES[:2] for y in NAMES[:3] for z in NAMES[:4]]
]
MODES = [0o644, 0o755, 0o600, 0o000, 0o4711, 0o2775, 0o1777, 0o500]
A_PATH = st.sampled_from(PATHS)
CONTENT = st.sampled_from([b"", b"one", b"two", b"x" * 5000, bytes(600_000), b"y" * 300_000 + bytes(300_000)])
ACTS = st.one_of(
    st.tuples(st.just("write"), A_PATH, CONTENT),
    st.tuples(st.just("write"), A_PATH, CONTENT),
    st.tuples(st.just("append"), A_PATH),
    st.tuples(st.just("edit behind the back"), A_PATH),
    st.tuples(st.just("write through a map"), A_PATH),
    st.tuples(st.just("delete"), A_PATH),
    st.tuples(st.just("rename"), A_PATH, A_PATH),
    st.tuples(st.just("exchange"), A_PATH, A_PATH),
    st.tuples(st.just("chmod"), A_PATH, st.sampled_from(MODES)),
    st.tuples(st.just("symlink"), A_PATH, st.sampled_from([b"a", b"/etc/passwd", b"\xff", b"nowhere", b"t" * 4000])),
    st.tuples(st.just("link"), A_PATH, A_PATH),
    st.tuples(st.just("move by link and edit"), A_PATH, A_PATH),
    st.tuples(st.just("edit through a name that goes"), A_PATH, A_PATH),
    st.tuples(st.just("edit in a directory that goes"), A_PATH, A_PATH),
    st.tuples(st.just("chmod through a name that goes"), A_PATH, A_PATH),
    st.tuples(st.just("replace"), A_PATH, A_PATH),
    st.tuples(st.just("make a directory anew"), A_PATH),
    st.tuples(st.just("mkdir"), A_PATH),
    st.tuples(st.just("mkdir"), A_PATH),
    st.tuples(st.just("fifo"), A_PATH),
    st.tuples(st.just("socket"), A_PATH),
)


class LocalAgent:
    """Asks a `Workspace` of this process as a host asks the agent inside; frames and heads go through their encoding.

    `asked` lists the requests, `sent` and `received` count the bytes of bodies; see `Folders` for `unwatched`.
    """

    unwatched = 0

    def __init__(self, root: Path) -> None:
        self.root = root
        self.workspace = Workspace(os.fsencode(root), self.unwatched)
        self.living: list[int] = []
        self.asked: list[dict[str, Any]] = []
        self.sent = self.received = 0

    def __call__(
        self, request: Mapping[str, Any], body: Iterable[bytes] = (), size: int = 0, *, largest: int = 0
    ) -> tuple[dict[str, Any], bytes]:
        head = wire.loads(wire.dumps(dict(request)))
        self.asked.append(head)
        content = memoryview(b"".join(body))
        assert len(content) == size
        self.sent += size
        at = 0

        def receive(most: int) -> bytes:
            nonlocal at
            piece = bytes(content[at : at + most])
            at += len(piece)
            return piece

        stream = wire.Body(receive, size)
        if head["do"] == "look":
            reply, length, parts = self.workspace.look(head, stream, self.living)
        else:
            reply, length, parts = getattr(self.workspace, head["do"])(head, stream)
        assert stream.left == 0
        answer = b"".join(parts)
        assert len(answer) == length <= largest
        self.received += length
        return wire.loads(wire.dumps(reply)), answer

    def close(self) -> None:
        self.workspace.close()
