"""What a model said with its text: reasoning, words and tool calls, read by the reader that is proved to fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from agentdistill.chat.formats import FORMATS, NO_CALLS, Format, Said
from agentdistill.chat.proofs import FIRST, MORE, NAME, PROBE_TOOL, SECOND
from agentdistill.chat.templates import Template
from agentdistill.chat.values import Call, call_of, problem_of, schemas_of, storable
from agentdistill.errors import TemplateError
from agentdistill.records import Message, ToolCall, ToolSpec

_TOOL = ToolSpec(name=NAME, description="", parameters=PROBE_TOOL["function"]["parameters"])
RESPONSE_TEMPLATE = "response template"


class Reader:
    """Text of an assistant turn → what was said.

    Which form calls are read in is proved, not told from names: turns with calls are rendered by the template as a
    model would have to write them, and the first reader that gives the same calls back is taken. A `response_template`
    that the tokenizer carries goes first, read by transformers itself.

    Attributes:
        format: the name of the reader; empty where the template cannot carry calls.

    Raises:
        TemplateError: the template shows calls, and no reader gives them back.
    """

    def __init__(self, template: Template) -> None:
        self.template = template
        self.form = template.form
        self.format = ""
        self._find: Format = NO_CALLS
        self._by_transformers = False
        if self.form.calls is None:
            return
        try:
            turns = self._probes()
        except TemplateError:  # then no turn with calls is ever rendered, and none is read
            return
        for self.format, self._find in FORMATS.items():
            if self._gives_back(turns):
                break
        else:
            self.format, self._find = "", NO_CALLS
        if getattr(template.tokenizer, "response_template", None) is not None:
            # Our own reader, if there is one, stays behind it for what it cannot read; the proof is without.
            own, self._find, self._by_transformers = self._find, NO_CALLS, True
            self._by_transformers = self._gives_back(turns)
            self._find = own
            if self._by_transformers:
                self.format = RESPONSE_TEMPLATE
        if not self.format:
            raise TemplateError(
                "the chat template writes tool calls in a form that no reader gives back; "
                "give the tokenizer a `response_template`"
            )

    def read(self, text: str, turn: int, tools: Sequence[ToolSpec] = (), prefill: str | None = None) -> Message:
        """What was said, as the `turn`-th assistant message (0-based) of a conversation; nothing is raised.

        Args:
            text: what the model wrote behind the prompt, without the stop token.
            turn: names the calls ``call_<turn>_<index>``.
            tools: their schemas tell numbers from text where a form of calls does not.
            prefill: what the prompt had already written of the turn; by default what it writes after a question.
        """
        prefill = self.form.prefill if prefill is None else prefill
        said = self._read(prefill, text.removeprefix(self.form.header.removesuffix(self.form.prefill)), tools)
        calls = said.calls
        if len(calls) > 1 and not self.form.parallel and self.form.calls is not None:
            calls = (Call(problem="this model can make one call in a turn"),)
        return Message(
            role="assistant",
            content=said.content,
            reasoning=said.reasoning,
            tool_calls=tuple(
                ToolCall(id=f"call_{turn}_{index}", name=call.name, arguments=call.arguments, problem=call.problem)
                for index, call in enumerate(calls)
            ),
        )

    def _read(self, prefill: str, text: str, tools: Sequence[ToolSpec]) -> Said:
        if self._by_transformers:
            try:
                return self._by_response_template(prefill, text, tools)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                if self._find is NO_CALLS:
                    return Said(text.strip(), (problem_of(error, "in this model's form"),))
        thought, text, closed = self._thought(prefill + text)
        said = self._find(text, schemas_of(list(tools))) if closed else Said("")
        return Said(self._words(said.content), said.calls, said.reasoning or thought)

    def _thought(self, text: str) -> tuple[str, str, bool]:
        """The reasoning, what stands behind it, and whether it ended."""
        if self.form.thought is None or not text.lstrip().startswith(self.form.thought[0]):
            return "", text, True
        inside, closing, rest = text.lstrip()[len(self.form.thought[0]) :].partition(self.form.thought[1])
        return inside.strip(), rest, bool(closing)

    def _words(self, content: str) -> str:
        """The words without what frames them."""
        head, foot = (each.strip() for each in self.form.frame)
        content = content.strip()
        if head and content.startswith(head):
            content = content[len(head) :]
        return content.removesuffix(foot).strip() if foot else content.strip()

    def _by_response_template(self, prefill: str, text: str, tools: Sequence[ToolSpec]) -> Said:
        """By transformers' own parser, which finds in the prompt where the turn begins.

        Raises:
            ValueError: a call is not as the template has it (and what else a parser of regular expressions meets).
        """
        prompt = self.form.prompt.removesuffix(self.form.prefill) + prefill
        given: list[dict[Any, Any] | Callable[..., Any]] = [
            {"type": "function", "function": tool.model_dump(mode="json")} for tool in tools
        ]
        parsed = cast("dict[str, Any]", self.template.tokenizer.parse_response(text, prefix=prompt, tools=given))
        calls = [call_of(storable(each["function"])) for each in parsed.get("tool_calls") or []]
        thought = next((parsed[key] for key in ("reasoning_content", "reasoning", "thinking") if key in parsed), "")
        return Said(str(parsed.get("content") or "").strip(), tuple(calls), str(thought).strip())

    def _probes(self) -> list[tuple[Message, str]]:
        """Turns with calls, and the text a model has to write for each."""
        user = Message(role="user", content=MORE)
        arguments = [{"place": f'{FIRST} "ü" 東', "n": 3}, {"place": SECOND}]
        calls = [ToolCall(id=f"call_0_{i}", name=NAME, arguments=each) for i, each in enumerate(arguments)]
        turns = [Message(role="assistant", tool_calls=tuple(calls[:1]))]
        if self.form.parallel:
            turns.append(Message(role="assistant", tool_calls=tuple(calls)))
        return [(turn, self.template.turn([user], turn, [_TOOL])) for turn in turns]

    def _gives_back(self, turns: Sequence[tuple[Message, str]]) -> bool:
        """Whether the calls of all these turns are read out of their texts."""
        return all(
            self.read(text.removesuffix(self.template.stop(turn).token), 0, [_TOOL]).tool_calls == turn.tool_calls
            for turn, text in turns
        )
