"""One chat template with one tokenizer: messages to text, and where in it an assistant turn begins and ends."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from pydantic import JsonValue

from agentdistill.chat.proofs import THOUGHT, CallForm, Form, Plain, Stop, cut, prove
from agentdistill.chat.separable import is_separable
from agentdistill.chat.values import whole
from agentdistill.errors import TemplateError
from agentdistill.records import Message, ToolSpec

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_REMEMBERED = 4096
_REMEMBERED_PIECES = 32768  # all messages of some hundred conversations that go on together
# Templates take these apart in what somebody says, also where the tokenizer does not know them.
_TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
_PROVED: dict[tuple[object, ...], Form] = {}

Key = tuple[int, ...]
Memory = dict[Key, tuple[str, tuple[object, ...]]]


class Template:
    """Renders messages, and knows what was proved about the template.

    Raises:
        TemplateError: there is no chat template, or where its turns end cannot be proved.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        source = tokenizer.chat_template
        if not source or not isinstance(source, str | dict):
            raise TemplateError("the tokenizer has no chat template")
        self.tokenizer = tokenizer
        added = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
        if not added:
            raise TemplateError("the tokenizer has no special token that could end an assistant turn")
        tags = [tag for tag in _TAGS if tag in str(source)]
        self._special = _any_of({*added, *tags})
        self._added = _any_of(added)
        key = (str(source), tokenizer.bos_token, tokenizer.eos_token, frozenset(added))
        if key not in _PROVED:
            if len(_PROVED) >= _REMEMBERED:
                _PROVED.clear()
            _PROVED[key] = prove(self._apply, self._added)
        self.form = _PROVED[key]
        # A conversation grows by a turn at a time, and each text is needed two or three times: they are remembered by
        # the identity of their messages, which the entry itself keeps alive.
        self._texts: Memory = {}
        self._turns: Memory = {}
        # What takes longest is to render whole conversations: where messages are written one by one, each is once.
        self._pieces: Memory = {}
        self._ends: dict[bool, str] | None = None
        if isinstance(source, str) and self.form.system and is_separable(source):
            one: Plain = {"role": "user", "content": self._content("")}
            size = len(self._apply([one, one], [], False)) - len(self._apply([one], [], False))
            self._ends = {generate: self._apply([one], [], generate)[size:] for generate in (False, True)}

    def stop(self, message: Message) -> Stop:
        """What ends this assistant turn."""
        return self.form.call_stop if message.tool_calls else self.form.answer_stop

    def last_special(self, text: str) -> int:
        """Where the last special token in `text` begins; 0 if there is none."""
        for begin in (max(0, len(text) - 200), 0):
            if places := [found.start() for found in self._added.finditer(text, begin)]:
                return places[-1]
        return 0

    def text(self, messages: Sequence[Message], tools: Sequence[ToolSpec], *, generate: bool) -> str:
        """The conversation as the template writes it, special tokens that somebody spelt made harmless.

        Args:
            messages: the conversation.
            tools: what the template may show of the tools.
            generate: whether what begins an assistant turn is written at the end.

        Raises:
            TemplateError: the template refuses the conversation.
        """
        key = (generate, id(tools), *map(id, messages))
        if key not in self._texts:
            if self._ends is None:
                text = self._apply(self._plain_all(messages), [_openai_tool(spec) for spec in tools], generate)
            else:
                text = "".join(self._piece(each, messages) for each in messages) + self._ends[generate]
            _remember(self._texts, key, text, (tools, *messages))
        return self._texts[key][0]

    def turn(self, before: Sequence[Message], message: Message, tools: Sequence[ToolSpec] = ()) -> str:
        """The text of one assistant turn as the model would have to write it behind the prompt, stop token included.

        Raises:
            TemplateError: the template does not write the turn as prompt + turn + stop token.
        """
        key = (id(tools), id(message), *map(id, before))
        if key not in self._turns:
            _remember(self._turns, key, self._turn(before, message, tools), (tools, message, *before))
        return self._turns[key][0]

    def _turn(self, before: Sequence[Message], message: Message, tools: Sequence[ToolSpec]) -> str:
        if message.tool_calls and self.form.calls is None:
            raise TemplateError(f"the chat template cannot carry tool calls: {self.form.calls_problem}")
        prompt = self.text(before, tools, generate=True)
        silent = message.model_copy(update={"reasoning": ""}) if message.reasoning else message
        problem = "the chat template does not write an assistant turn as prompt + turn + stop token"
        for said in (message, silent):
            try:
                text = self.text([*before, said], tools, generate=False)
            except TemplateError as error:
                problem = str(error)
                continue
            if text.startswith(prompt):
                return self._checked(cut(text[len(prompt) :], self.stop(message)), message)
        if self.form.reasoning_key:  # the prompt has opened a thought: one is written, and it is empty
            thinking = message.model_copy(update={"reasoning": THOUGHT})
            text = self.text([*before, thinking], tools, generate=False)
            if text.startswith(prompt) and text[len(prompt) :].count(THOUGHT) == 1:
                return self._checked(cut(text[len(prompt) :].replace(THOUGHT, ""), self.stop(message)), message)
        if self.form.unseen and prompt.endswith(self.form.unseen[0]):
            opened, closing = self.form.unseen
            text = self.text([*before, silent], tools, generate=False)
            if text.startswith(prompt[: -len(opened)]):
                body = cut(text[len(prompt) - len(opened) :], self.stop(message))
                return self._checked(self.defuse(message.reasoning) + closing + body, message)
        if len(before) > 1 and (turn := self._rewritten(prompt, before, message, tools)):
            return self._checked(turn, message)
        raise TemplateError(problem)

    def _rewritten(
        self, prompt: str, before: Sequence[Message], message: Message, tools: Sequence[ToolSpec]
    ) -> str | None:
        """The turn, where the template rewrites what is before it as soon as it is said (gpt-oss).

        Proof: behind what begins a turn it writes, at the end of the conversation, the same as behind one question.
        """
        short = [Message(role="user", content="")]
        try:
            turn = self.turn(short, message, tools)
            text = self.text([*before, message], tools, generate=False)
            small = self.text([*short, message], tools, generate=False)
            open_end, small_end = (self.text(each, tools, generate=False) for each in (before, short))
            small_prompt = self.text(short, tools, generate=True)
        except TemplateError:
            return None
        header = prompt[len(open_end) :]
        if not (header and prompt.startswith(open_end) and small_prompt == small_end + header):
            return None
        written = small[len(small_end) :] if small.startswith(small_prompt) else None
        return turn if written and text.endswith(written) else None

    def _checked(self, turn: str, message: Message) -> str:
        """The turn, if all that was said is in it."""
        beside = bool(message.tool_calls) and not self.form.words_beside_calls
        if not beside and self.defuse(message.content).strip() not in turn:
            raise TemplateError("the chat template does not show all that an assistant turn says")
        if any(self.defuse(call.name) not in turn for call in message.tool_calls):
            raise TemplateError("the chat template does not show the tool calls of an assistant turn")
        return turn

    def defuse(self, text: str) -> str:
        """Tool output is hostile: a special token spelt in it must not become one. A zero-width space breaks it.

        Half characters (lone surrogates) are replaced too: no tokenizer takes them.
        """
        return self._special.sub(lambda found: found.group()[0] + "\u200b" + found.group()[1:], whole(text))

    def defuse_all(self, value: JsonValue) -> JsonValue:
        """`defuse`, for every string in a JSON value, keys included."""
        if isinstance(value, str):
            return self.defuse(value)
        if isinstance(value, list):
            return [self.defuse_all(each) for each in value]
        if isinstance(value, dict):
            return {self.defuse(key): self.defuse_all(each) for key, each in value.items()}
        return value

    def _apply(self, messages: list[Plain], tools: list[Plain], generate: bool) -> str:
        from jinja2 import TemplateError as JinjaError

        given = cast("list[dict[Any, Any] | Callable[..., Any]]", tools) or None
        try:
            text = self.tokenizer.apply_chat_template(
                messages, tools=given, tokenize=False, add_generation_prompt=generate
            )
        except (JinjaError, TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
            reason = str(error).strip().split("\n")[0][:200]
            raise TemplateError(f"the chat template refuses the conversation: {reason}") from error
        return cast("str", text)

    def _piece(self, message: Message, messages: Sequence[Message]) -> str:
        """What a template that writes messages one by one writes for this one."""
        assert self._ends is not None
        key = (id(message),)
        if key in self._pieces:
            return self._pieces[key][0]
        apart = message.name is not None or message.tool_call_id is None  # else its name is in another message
        text = self._apply([self._plain(message, {} if apart else _names(messages))], [], False)
        text = text[: len(text) - len(self._ends[False])]
        if apart:
            _remember(self._pieces, key, text, (message,), _REMEMBERED_PIECES)
        return text

    def _plain_all(self, messages: Sequence[Message]) -> list[Plain]:
        """Messages as chat templates expect them."""
        names = _names(messages)
        return [self._plain(each, names) for each in (messages if self.form.system else _folded(messages))]

    def _plain(self, message: Message, names: dict[str, str]) -> Plain:
        """A message as chat templates expect it, with every special token in it made harmless."""
        calls = self.form.calls or CallForm()
        plain: Plain = {"role": message.role, "content": self._content(self.defuse(message.content))}
        crowd = self.form.crowded and message.content and message.tool_calls
        if message.reasoning and self.form.reasoning_key and not crowd:
            plain[self.form.reasoning_key] = self.defuse(message.reasoning)
        if message.tool_calls:
            plain["tool_calls"] = [self._plain_call(call.id, call.name, call.arguments) for call in message.tool_calls]
            if calls.empty_is_none and not message.content:
                plain["content"] = None
        if message.tool_call_id is not None:
            plain["tool_call_id"] = self._plain_id(message.tool_call_id)
        name = message.name if message.name is not None else names.get(message.tool_call_id or "")
        if name is not None:
            plain["name"] = self.defuse(name)
        return plain

    def _content(self, text: str) -> Any:
        return [{"type": "text", "text": text}] if self.form.blocks else text

    def _plain_call(self, name: str, function: str, arguments: dict[str, JsonValue]) -> Plain:
        given: Any = self.defuse_all(arguments)
        if self.form.calls and self.form.calls.arguments_as_text:
            given = json.dumps(given, ensure_ascii=False)
        return {
            "id": self._plain_id(name),
            "type": "function",
            "function": {"name": self.defuse(function), "arguments": given},
        }

    def _plain_id(self, name: str) -> str:
        """A call's id; nine letters and digits where the template (Mistral) takes no other."""
        if self.form.calls and self.form.calls.short_ids:
            return hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:9]
        return name


def _names(messages: Sequence[Message]) -> dict[str, str]:
    """Which tool each call of a conversation names."""
    return {call.id: call.name for message in messages for call in message.tool_calls}


def _folded(messages: Sequence[Message]) -> list[Message]:
    """The conversation without system messages: what they say stands at the head of the user's next one."""
    folded: list[Message] = []
    said: list[str] = []
    for message in messages:
        if message.role == "system":
            said.append(message.content)
        elif message.role == "user" and said:
            folded.append(message.model_copy(update={"content": "\n\n".join([*said, message.content])}))
            said = []
        else:
            folded.append(message)
    return [*folded, Message(role="user", content="\n\n".join(said))] if said else folded


def _any_of(tokens: set[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(token) for token in sorted(tokens, key=lambda t: (-len(t), t)) if token))


def _remember(memory: Memory, key: Key, text: str, alive: tuple[object, ...], most: int = _REMEMBERED) -> None:
    if len(memory) >= most:
        memory.clear()
    memory[key] = (text, alive)


def _openai_tool(spec: ToolSpec) -> Plain:
    return {
        "type": "function",
        "function": {"name": spec.name, "description": spec.description, "parameters": spec.parameters},
    }
