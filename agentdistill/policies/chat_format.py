"""The chat-completions format, as servers speak it: messages and tools into JSON, and answers back into records.

Read from OpenAI's reference and from vLLM's protocol, which adds `token_ids`, `prompt_token_ids`, `prompt_logprobs`
and `reasoning`. Whatever a model said becomes a record; only what no server may say is an error.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

from agentdistill.chat.values import read_json, storable, whole
from agentdistill.ledger import Usage
from agentdistill.records import Message, ToolCall, ToolSpec

UNREADABLE = "unreadable_call"
"""What a call is named whose name could not be read, when it is told to a server again: an empty name is refused."""
_CONTEXT = re.compile(
    r"context_length_exceeded|exceed_context_size|maximum context length|context (?:size|window|length)"
    r"|prompt is too long|longer than the maximum model length|too many (?:input )?tokens",
    re.IGNORECASE,
)


class FormatError(ValueError):
    """A server's answer is not in the format; the message says what is missing."""


@dataclass(frozen=True)
class Answer:
    """What a server said.

    Attributes:
        message: the assistant's turn.
        finish: why it ended.
        usage: tokens, where the server counted them.
        token_ids: of the turn, where the server gives them.
        prompt_ids: all it was fed, where the server gives them.
        pieces: the sampled tokens as bytes, and their log-probabilities: both empty where the server gives none.
        logprobs: natural, one for each piece.
    """

    message: Message
    finish: Literal["stop", "length"]
    usage: Usage | None
    token_ids: tuple[int, ...] = ()
    prompt_ids: tuple[int, ...] = ()
    pieces: tuple[bytes, ...] = ()
    logprobs: tuple[float, ...] = ()


def tool_to_json(spec: ToolSpec) -> dict[str, Any]:
    """A tool as `tools` of a request has it."""
    function = {"name": spec.name, "description": spec.description, "parameters": spec.parameters}
    return {"type": "function", "function": function}


def message_to_json(message: Message, reasoning: str = "") -> dict[str, Any]:
    """A message as `messages` of a request has it; its reasoning under the key `reasoning`, if that is given."""
    told: dict[str, Any] = {"role": message.role, "content": message.content}
    if reasoning and message.reasoning:
        told[reasoning] = message.reasoning
    if message.tool_calls:
        told["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name or UNREADABLE, "arguments": json.dumps(call.arguments)},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        told["tool_call_id"] = message.tool_call_id
    return told


def read_answer(body: Any, turn: int) -> Answer:
    """What a chat completion says, as the `turn`-th assistant message (0-based) of its conversation.

    A tool call that cannot be read becomes a call with a `problem`. Calls without an id, or with one that was seen
    before in the turn, get one of ours.

    Raises:
        FormatError: it is no chat completion.
    """
    choice = first_choice(body)
    said = choice.get("message")
    if not isinstance(said, dict):
        raise FormatError("an answer without a message")
    given = said.get("tool_calls")
    given = given if isinstance(given, list) else []
    calls = [_read_call(each, f"call_{turn}_{at}") for at, each in enumerate(given)]
    seen: set[str] = set()
    for at, call in enumerate(calls):
        if call.id in seen:
            calls[at] = call.model_copy(update={"id": f"call_{turn}_{at}"})
        seen.add(calls[at].id)
    pieces, logprobs = _read_logprobs(choice.get("logprobs"))
    return Answer(
        message=Message(
            role="assistant",
            content=_text(said.get("content")),
            reasoning=_text(said.get("reasoning_content") or said.get("reasoning")),
            tool_calls=tuple(calls),
        ),
        finish="length" if choice.get("finish_reason") == "length" else "stop",
        usage=read_usage(body),
        token_ids=_ids(choice.get("token_ids")),
        prompt_ids=_ids(body.get("prompt_token_ids")),
        pieces=pieces,
        logprobs=logprobs,
    )


def read_completion(body: Any) -> Answer:
    """What a completion in tokens says (vLLM's `return_token_ids`); its message is left to who has the tokenizer.

    Raises:
        FormatError: it is no completion.
    """
    choice = first_choice(body)
    if not isinstance(choice.get("text"), str):
        raise FormatError("a completion without a text")
    given = choice.get("logprobs")
    logprobs = given.get("token_logprobs") if isinstance(given, dict) else None
    return Answer(
        message=Message(role="assistant"),
        finish="length" if choice.get("finish_reason") == "length" else "stop",
        usage=read_usage(body),
        token_ids=_ids(choice.get("token_ids")),
        prompt_ids=_ids(choice.get("prompt_token_ids")),
        logprobs=tuple(map(float, logprobs)) if isinstance(logprobs, list) and all(map(_is_number, logprobs)) else (),
    )


def first_choice(body: Any) -> dict[str, Any]:
    """The only choice of an answer.

    Raises:
        FormatError: there is none.
    """
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise FormatError("an answer without choices")
    found: dict[str, Any] = choices[0]
    return found


def read_usage(body: Mapping[str, Any]) -> Usage | None:
    """The tokens that the server counted, or `None`."""
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return None
    read, written = usage.get("prompt_tokens"), usage.get("completion_tokens", 0)
    if not _is_count(read) or not _is_count(written):
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    return Usage(read, written, min(cached, read) if _is_count(cached) else 0)


def read_prompt_logprobs(body: Any, ids: Sequence[int]) -> list[float]:
    """The log-probability of each id of a prompt, `nan` for the first, from a completion with `prompt_logprobs`.

    Raises:
        FormatError: there are none, or they are those of other tokens.
    """
    given = first_choice(body).get("prompt_logprobs") or body.get("prompt_logprobs")
    if not isinstance(given, list):
        raise FormatError("no prompt_logprobs in the answer")
    if len(given) != len(ids):
        raise FormatError(f"prompt_logprobs of {len(given)} tokens, and {len(ids)} were sent")
    found = [math.nan]
    for token, entry in zip(ids[1:], given[1:], strict=True):
        one = entry.get(str(token)) if isinstance(entry, dict) else None
        if not isinstance(one, dict) or not _is_number(one.get("logprob")):
            raise FormatError(f"prompt_logprobs without the token {token}, which was sent")
        found.append(float(one["logprob"]))
    return found


def read_echo_logprobs(body: Any, ids: Sequence[int]) -> list[float]:
    """The same from a completion that echoes its prompt with `logprobs`.

    Raises:
        FormatError: there are none, or it cannot be seen that they are those of the prompt's tokens.
    """
    logprobs = first_choice(body).get("logprobs")
    given = logprobs.get("token_logprobs") if isinstance(logprobs, dict) else None
    usage = read_usage(body)
    if not isinstance(given, list) or len(given) < len(ids):
        raise FormatError("no log-probabilities of the prompt in the answer")
    if usage is None or usage.input_tokens != len(ids):
        raise FormatError(f"the server did not say that it read the {len(ids)} tokens that were sent")
    if not all(_is_number(each) for each in given[1 : len(ids)]):
        raise FormatError("a token of the prompt without a log-probability")
    return [math.nan, *map(float, given[1 : len(ids)])]


def is_context_overflow(status: int, text: str) -> bool:
    """Whether a server refused a request because the conversation is longer than the model's context."""
    return status in (400, 413, 422) and _CONTEXT.search(text) is not None


def _read_call(said: Any, own_id: str) -> ToolCall:
    function = said.get("function") if isinstance(said, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        return ToolCall(id=own_id, name="", problem="a tool call without the name of a function")
    given = said.get("id")
    call_id = whole(given) if isinstance(given, str) and given else own_id
    name, arguments = whole(function["name"]), function.get("arguments")
    try:
        if isinstance(arguments, str):
            arguments = read_json(arguments or "{}")
        arguments = storable({} if arguments is None else arguments)
    except (ValueError, RecursionError) as error:
        reason = str(error).split(":")[0] or "nested too deep"
        return ToolCall(id=call_id, name=name, problem=f"the arguments of the call are not valid JSON ({reason})")
    if not isinstance(arguments, dict):
        return ToolCall(id=call_id, name=name, problem="the arguments of a tool call are a JSON object")
    return ToolCall(id=call_id, name=name, arguments=arguments)


def _read_logprobs(given: Any) -> tuple[tuple[bytes, ...], tuple[float, ...]]:
    entries = given.get("content") if isinstance(given, dict) else None
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        return (), ()
    pieces, logprobs = [], []
    for entry in entries:
        if not _is_number(entry.get("logprob")):
            return (), ()
        spelt = entry.get("bytes")
        if not isinstance(spelt, list):
            spelt = whole(str(entry.get("token", ""))).encode()
        try:
            pieces.append(bytes(spelt))
        except (ValueError, TypeError):
            return (), ()
        logprobs.append(float(entry["logprob"]))
    return tuple(pieces), tuple(logprobs)


def _text(given: Any) -> str:
    """Content is a string, nothing, or a list of parts."""
    if isinstance(given, list):
        given = "".join(str(part.get("text", "")) for part in given if isinstance(part, dict))
    return whole(given) if isinstance(given, str) else ""


def _ids(given: Any) -> tuple[int, ...]:
    return tuple(given) if isinstance(given, list) and all(_is_count(each) for each in given) else ()


def _is_count(given: Any) -> TypeGuard[int]:
    return isinstance(given, int) and not isinstance(given, bool) and 0 <= given < 2**53


def _is_number(given: Any) -> bool:
    if isinstance(given, float):
        return math.isfinite(given)
    return isinstance(given, int) and not isinstance(given, bool) and abs(given) < 2**53
