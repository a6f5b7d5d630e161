"""What a fake chat server says: its faults, its books, and the chat-completions format from the server's side."""

from __future__ import annotations

import json
import math
import re
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from agentdistill.policies.base import Policy, Request
from agentdistill.policies.chat_format import message_to_json
from agentdistill.records import Completion, Message, ToolCall, ToolSpec

Fault = Literal[
    "request_timeout",  # 408
    "conflict",  # 409
    "rate_limit",  # 429 with Retry-After
    "server_error",  # 500
    "unavailable",  # 503
    "overloaded",  # 529
    "hang",  # no answer at all
    "reset",  # the connection is reset before an answer
    "cut",  # the connection ends in the middle of an answer
    "garbage",  # 200, and no JSON
    "empty",  # 200, and JSON without an answer
    "error_in_200",  # 200, and an error in it
    "bad_request",  # 400
    "unauthorized",  # 401
    "forbidden",  # 403
    "not_found",  # 404
    "truncated_prompt",  # only the end of the prompt is read
    "missing_ids",  # no token ids, though asked for
    "no_usage",  # tokens are not counted
    "malformed_call",  # the arguments of tool calls are broken off
]
STATUS: dict[str, int] = {
    "request_timeout": 408,
    "conflict": 409,
    "rate_limit": 429,
    "server_error": 500,
    "unavailable": 503,
    "overloaded": 529,
    "bad_request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
}
OPTIONS = {"tools": "tools", "logprobs": "logprobs", "return_token_ids": "token_ids"}
"""Key of a request → which of the things that a server may give it asks for."""
PASSING: tuple[Fault, ...] = (
    "request_timeout",
    "conflict",
    "rate_limit",
    "server_error",
    "unavailable",
    "overloaded",
    "hang",
    "reset",
    "cut",
    "garbage",
    "empty",
    "error_in_200",
)
"""Faults that a client gets over by asking again."""
PIECE = re.compile(r"\s*\w+|\s*[^\w\s]|\s+")

Said = Message | str | Completion
Script = Sequence[Said] | Callable[[Request], Said] | Policy


@dataclass
class Served:
    """What a server did. Tokens of answers that were cut or lost on the way are in `lost_tokens`."""

    answers: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    lost: int = 0
    lost_tokens: int = 0
    peak: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    """How often each request, by its hash, was answered whole."""


@dataclass(frozen=True)
class Reply:
    """What a request is answered with, before any fault strikes."""

    message: Message
    finish: str
    prompt_ids: list[int]
    token_ids: list[int]
    pieces: list[bytes]
    logprobs: list[float]


def chat_json(model: str, gives: frozenset[str], body: dict[str, Any], reply: Reply, fault: str) -> dict[str, Any]:
    """A chat completion in vLLM's shape, with what was asked for and is given."""
    message = message_to_json(reply.message, "reasoning")
    for call, said in zip(message.get("tool_calls", []), reply.message.tool_calls, strict=True):
        if fault == "malformed_call" or said.problem:
            call["function"]["arguments"] = call["function"]["arguments"][:-1]
    choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": reply.finish, "logprobs": None}
    told: dict[str, Any] = {"id": "chatcmpl-0", "object": "chat.completion", "created": int(time.time())}
    told |= {"model": model, "choices": [choice]}
    if body.get("logprobs") and "logprobs" in gives:
        choice["logprobs"] = {
            "content": [
                {
                    "token": piece.decode("utf-8", "replace"),
                    "logprob": logprob,
                    "bytes": list(piece),
                    "top_logprobs": [],
                }
                for piece, logprob in zip(reply.pieces, reply.logprobs, strict=True)
                if math.isfinite(logprob)
            ]
        }
    if body.get("return_token_ids") and "token_ids" in gives and fault != "missing_ids":
        choice["token_ids"], told["prompt_token_ids"] = reply.token_ids, reply.prompt_ids
    if fault != "no_usage":
        read, written = len(reply.prompt_ids), len(reply.token_ids)
        told["usage"] = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    return told


def read_request(body: dict[str, Any], *, with_tools: bool) -> Request:
    """What a client asked, as policies are asked."""
    functions = [tool["function"] for tool in body.get("tools") or []] if with_tools else []
    tools = tuple(
        ToolSpec(name=each["name"], description=each.get("description", ""), parameters=each.get("parameters", {}))
        for each in functions
    )
    return Request(messages=tuple(map(_read_message, body["messages"])), tools=tools, seed=int(body.get("seed") or 0))


def _read_message(told: dict[str, Any]) -> Message:
    calls = [
        ToolCall(id=each["id"], name=each["function"]["name"], arguments=json.loads(each["function"]["arguments"]))
        for each in told.get("tool_calls") or []
    ]
    return Message(
        role=told["role"],
        content=told.get("content") or "",
        reasoning=told.get("reasoning") or told.get("reasoning_content") or "",
        tool_calls=tuple(calls),
        tool_call_id=told.get("tool_call_id"),
    )


def front_cut(body: dict[str, Any], share: float) -> dict[str, Any]:
    """The request as a server sees it that reads only its last tokens."""
    messages = [dict(message) for message in body["messages"]]
    lose = int(sum(len(message.get("content") or "") for message in messages) * (1 - share)) + 1
    for message in messages:
        text = message.get("content") or ""
        message["content"], lose = text[lose:], max(0, lose - len(text))
    return body | {"messages": messages}


def as_completion(said: Said) -> Completion:
    """What a script said, as policies say it."""
    if isinstance(said, Completion):
        return said
    return Completion(message=said if isinstance(said, Message) else Message(role="assistant", content=said))


def call_text(call: ToolCall) -> str:
    """A call as a model might have written it, to count its tokens."""
    return f"<tool_call>{json.dumps({'name': call.name, 'arguments': call.arguments})}</tool_call>"


def word_id(word: bytes) -> int:
    """The id of a word, where words are tokens."""
    return zlib.crc32(word) % 2**20
