"""The one place where messages become token ids and a loss mask, and model text becomes tool calls.

A conversation is never rendered twice. The ids a model was fed and sampled are kept (`Completion.context_ids` and
`token_ids`); only what is new since its last turn, a tool result or a teacher's turn, is tokenised, once and in
place, by `Renderer.extend`. That is right only for chat templates that keep what they have written: each call proves
it, on the text, and raises `TemplateError` where a template rewrites earlier turns.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from pydantic import JsonValue, ValidationError

from agentdistill.errors import NothingSupervisedError, TemplateError
from agentdistill.records import Actor, Message, ToolCall, ToolSpec, Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_REMEMBERED = 4096
_DEEPEST = 64  # JSON readers give up at about 200 levels, and records wrap a call's arguments in some of their own
_SURROGATE = re.compile("[\ud800-\udfff]")
_CALL = re.compile(r"<tool_call>(.*?)(</tool_call>|\Z)", re.DOTALL)


class Renderer:
    """Messages ↔ token ids for one tokenizer with a chat template.

    Args:
        tokenizer: any Hugging Face tokenizer whose chat template ends an assistant turn with its `eos_token`.

    Raises:
        TemplateError: the tokenizer has no chat template or no end-of-turn token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if not tokenizer.chat_template or tokenizer.eos_token is None:
            raise TemplateError("the tokenizer needs a chat template and an eos_token that ends an assistant turn")
        self.tokenizer = tokenizer
        self.stop: str = cast("str", tokenizer.eos_token)
        self.stop_id: int = cast("int", tokenizer.eos_token_id)
        specials = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
        self._rendered: dict[tuple[int, ...], tuple[str, tuple[object, ...]]] = {}
        self._special = re.compile("|".join(re.escape(s) for s in sorted(specials, key=len, reverse=True)))

    def extend(
        self,
        ids: Sequence[int],
        covered: int,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec] = (),
    ) -> list[int]:
        """The ids that follow `ids` up to where the next assistant turn begins.

        Args:
            ids: exact ids of ``messages[:covered]``, ending with the last assistant turn among them.
            covered: how many messages `ids` stand for: 0, or one past an assistant message.
            messages: the whole conversation, ending with what the next turn answers.
            tools: what the template may show of the tools.

        Returns:
            Only the new ids; tokens of assistant turns that were not covered (a teacher's) are among them.

        Raises:
            TemplateError: the template rewrites what it has already written.
        """
        new: list[int] = []
        stopped = bool(ids) and ids[-1] == self.stop_id
        for turn in range(covered, len(messages)):
            if messages[turn].role == "assistant":
                new += self._glue(messages[:turn], covered, tools, stopped)
                new += self.turn(messages[:turn], messages[turn], tools)
                covered, stopped = turn + 1, True
        return new + self._glue(messages, covered, tools, stopped)

    def turn(self, before: Sequence[Message], message: Message, tools: Sequence[ToolSpec] = ()) -> list[int]:
        """The ids of one assistant turn as the model would have to emit it, the stop token included."""
        prompt = self._render(before, tools, generate=True)
        whole = self._render([*before, message], tools, generate=False)
        return self._encode(self._split(prompt, whole)[0])

    def count(self, message: Message) -> int:
        """How many tokens an assistant turn costs to generate, the stop token included."""
        return len(self.turn([Message(role="user", content="")], message))

    def example(self, trajectory: Trajectory, trained: Actor) -> tuple[list[int], list[bool]]:
        """A whole trajectory as ids and loss mask: 1 on the turns of `trained`, 0 everywhere else.

        Turns whose ids are known are taken as they were fed and sampled; others are tokenised in place.
        The copied prefix of a takeover is never trained on, whoever said it.

        Raises:
            TemplateError: the template rewrites what it has already written.
            NothingSupervisedError: no token would carry loss.
        """
        ids: list[int] = []
        mask: list[bool] = []
        covered = 0
        first = trajectory.parent.step if trajectory.parent else 0
        for index, step in enumerate(trajectory.steps):
            before = trajectory.messages(index)
            said = step.completion
            if said.token_ids:
                context, turn = list(said.context_ids), list(said.token_ids)
            else:
                context = self.extend(ids, covered, before, trajectory.tools)
                turn = self.turn(before, said.message, trajectory.tools)
            loss = step.actor == trained and index >= first
            ids += context + turn
            mask += [False] * len(context) + [loss] * len(turn)
            covered = len(before) + 1
        if not any(mask):
            raise NothingSupervisedError(f"trajectory {trajectory.id}: no turn of the {trained} to learn from")
        return ids, mask

    def read(self, ids: Sequence[int], turn: int) -> Message:
        """What a model said with these ids, as the `turn`-th assistant message (0-based) of a conversation.

        Calls are read in the Hermes form ``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``. One that
        cannot be read becomes a call with a `problem`: the environment answers it, and nothing is raised.
        """
        kept = ids[:-1] if ids and ids[-1] == self.stop_id else ids
        text = cast("str", self.tokenizer.decode(list(kept), skip_special_tokens=False))
        calls = [
            _read_call(found.group(1), bool(found.group(2)), f"call_{turn}_{index}")
            for index, found in enumerate(_CALL.finditer(text))
        ]
        return Message(role="assistant", content=_CALL.sub("", text).strip(), tool_calls=tuple(calls))

    def _glue(self, messages: Sequence[Message], covered: int, tools: Sequence[ToolSpec], stopped: bool) -> list[int]:
        """Ids between the end of the last covered turn and the beginning of the next one."""
        text = self._render(messages, tools, generate=True)
        if covered == 0:
            return self._encode(text)
        prompt = self._render(messages[: covered - 1], tools, generate=True)
        whole = self._render(messages[:covered], tools, generate=False)
        _, tail = self._split(prompt, whole)
        done = len(whole) - len(tail)
        if not text.startswith(whole[:done]):
            raise TemplateError("the chat template rewrites earlier turns; extending them would not be exact")
        # A turn that was cut by the token limit has no stop token: the template's own closes it, without loss.
        return self._encode(text[done:] if stopped else self.stop + text[done:])

    def _split(self, prompt: str, whole: str) -> tuple[str, str]:
        """An assistant turn's text, stop token included, and what the template writes behind it."""
        if not whole.startswith(prompt) or self.stop not in whole[len(prompt) :]:
            raise TemplateError("the chat template does not write an assistant turn as prompt + turn + stop token")
        end = whole.rindex(self.stop) + len(self.stop)
        return whole[len(prompt) : end], whole[end:]

    def _render(self, messages: Sequence[Message], tools: Sequence[ToolSpec], *, generate: bool) -> str:
        # A conversation grows by a turn at a time, and each text is needed two or three times: they are remembered by
        # the identity of their messages, which the entry itself keeps alive.
        key = (generate, id(tools), *map(id, messages))
        if key in self._rendered:
            return self._rendered[key][0]
        text = cast(
            "str",
            self.tokenizer.apply_chat_template(
                [self._plain(message) for message in messages],
                tools=[_openai_tool(spec) for spec in tools] or None,
                tokenize=False,
                add_generation_prompt=generate,
            ),
        )
        if len(self._rendered) >= _REMEMBERED:
            self._rendered.clear()
        self._rendered[key] = (text, (tools, *messages))
        return text

    def _encode(self, text: str) -> list[int]:
        return cast("list[int]", self.tokenizer.encode(text, add_special_tokens=False))

    def _plain(self, message: Message) -> dict[str, Any]:
        """A message as chat templates expect it, with every special token in it made harmless."""
        plain: dict[str, Any] = {"role": message.role, "content": self._defuse(message.content)}
        if message.tool_calls:
            plain["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": self._defuse(call.name), "arguments": self._defuse_all(call.arguments)},
                }
                for call in message.tool_calls
            ]
        if message.tool_call_id is not None:
            plain["tool_call_id"] = message.tool_call_id
        if message.name is not None:
            plain["name"] = self._defuse(message.name)
        return plain

    def _defuse(self, text: str) -> str:
        """Tool output is hostile: a special token spelt in it must not become one. A zero-width space breaks it.

        Half characters (lone surrogates) are replaced too: no tokenizer takes them.
        """
        return self._special.sub(lambda found: found.group()[0] + "\u200b" + found.group()[1:], _whole(text))

    def _defuse_all(self, value: JsonValue) -> JsonValue:
        if isinstance(value, str):
            return self._defuse(value)
        if isinstance(value, list):
            return [self._defuse_all(each) for each in value]
        if isinstance(value, dict):
            return {self._defuse(key): self._defuse_all(each) for key, each in value.items()}
        return value


def _openai_tool(spec: ToolSpec) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": spec.name, "description": spec.description, "parameters": spec.parameters},
    }


def _read_call(text: str, closed: bool, call_id: str) -> ToolCall:
    """One call from what stood between the tags; anything wrong becomes its `problem`."""
    if not closed:
        return ToolCall(id=call_id, name="", problem="the tool call is not closed with </tool_call>")
    try:
        said = _storable(json.loads(text, parse_constant=_refuse_constant, parse_float=_finite))
        if not isinstance(said, dict) or not isinstance(said.get("name"), str):
            return ToolCall(id=call_id, name="", problem='a tool call is {"name": ..., "arguments": {...}}')
        return ToolCall(id=call_id, name=said["name"], arguments=said.get("arguments", {}))
    except ValidationError:
        return ToolCall(id=call_id, name="", problem="the arguments of a tool call are a JSON object")
    except (ValueError, RecursionError) as error:
        reason = str(error).split(":")[0] or "nested too deep"
        return ToolCall(id=call_id, name="", problem=f"the tool call is not valid JSON ({reason})")


def _storable(value: JsonValue, depth: int = 0) -> JsonValue:
    """What a model said in JSON, such that it can be written as JSON and read back: not too deep, no half characters.

    Raises:
        ValueError: it is nested too deep.
    """
    if depth > _DEEPEST:
        raise ValueError("nested too deep")
    if isinstance(value, str):
        return _whole(value)
    if isinstance(value, list):
        return [_storable(each, depth + 1) for each in value]
    if isinstance(value, dict):
        return {_whole(key): _storable(each, depth + 1) for key, each in value.items()}
    return value


def _whole(text: str) -> str:
    """Lone surrogates, which JSON can spell but UTF-8 cannot hold, become U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError("a number is out of range")
    return value


def _refuse_constant(name: str) -> JsonValue:
    raise ValueError(f"{name} is not JSON")
