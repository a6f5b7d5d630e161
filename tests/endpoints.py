"""Clients of the fake chat server, quick to try again; and a real tiny model to put behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentdistill.ledger import CallLedger
from agentdistill.policies import Request
from agentdistill.policies.endpoint import EndpointConfig, EndpointPolicy
from agentdistill.records import Message, ToolCall, ToolSpec
from agentdistill.testing import ChatServer

QUICK: dict[str, Any] = {"backoff": 0.002, "longest_backoff": 0.02, "timeout": 10.0, "deadline": 60.0}
LOOK = ToolSpec(
    name="look",
    description="Look at something.",
    parameters={"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]},
)


def client(server: ChatServer, ledger: CallLedger | None = None, **settings: Any) -> EndpointPolicy:
    return EndpointPolicy(EndpointConfig(**{"url": server.url, "model": "fake", **QUICK, **settings}), ledger)


def asked(*texts: str, seed: int = 0, tools: Sequence[ToolSpec] = ()) -> list[Request]:
    return [Request((Message(role="user", content=text),), tools=tuple(tools), seed=seed) for text in texts]


def calling(*looked_at: str, content: str = "") -> Message:
    calls = [ToolCall(id=f"c{n}", name="look", arguments={"at": at}) for n, at in enumerate(looked_at)]
    return Message(role="assistant", content=content, tool_calls=tuple(calls))


def echo(request: Request) -> str:
    """A different answer to each request, of a length that depends on it."""
    text = request.messages[-1].content
    return f"you said {text} and " + "so on " * (len(text) % 7)
