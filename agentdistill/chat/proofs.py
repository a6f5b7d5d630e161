"""What a chat template does, proved by rendering small conversations with it: never guessed from its name or source."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agentdistill.errors import TemplateError

Plain = dict[str, Any]
Render = Callable[[list[Plain], list[Plain], bool], str]
"""Messages and tools as templates take them, and whether an assistant turn shall follow → text, or `TemplateError`."""

ASK, MORE, ANSWER, THOUGHT, SYSTEM, RESULT = "zqask", "zqmore", "zqanswer", "zqthought", "zqsystem", "zqresult"
NAME, FIRST, SECOND = "zqtool", "zqfirst", "zqsecond"
REASONING_KEYS = ("reasoning_content", "reasoning", "thinking", "thought")
PROBE_TOOL: Plain = {
    "type": "function",
    "function": {
        "name": NAME,
        "description": "Goes there.",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "Where to."},
                "n": {"type": "integer", "description": "How often."},
            },
            "required": ["place"],
        },
    },
}


@dataclass(frozen=True)
class Stop:
    """The token that ends an assistant turn.

    It is `implicit` where the template writes it only as the beginning of the message that follows (GLM).
    """

    token: str
    implicit: bool = False


@dataclass(frozen=True)
class CallForm:
    """How messages with tool calls have to be handed to a template for it to show them."""

    arguments_as_text: bool = False
    empty_is_none: bool = False
    short_ids: bool = False


@dataclass(frozen=True)
class Form:
    """What was proved about a template.

    Attributes:
        blocks: whether contents are lists of blocks.
        system: whether it shows a system message.
        reasoning_key: the key under which it reads a turn's reasoning; empty where it shows none.
        words_beside_calls: whether it shows the words of a turn with calls; else the model cannot say any there.
        crowded: whether it refuses a turn with words, reasoning and calls at once.
        calls: how it takes tool calls; `None` where it cannot carry them, and `calls_problem` says why.
        parallel: whether it can carry several calls in one turn.
        answer_stop: ends a turn without calls.
        call_stop: ends a turn with calls.
        thought: what opens and closes a turn's reasoning; `None` where there is none.
        prefill: what the prompt has already written of a turn.
        unseen: what the prompt opens a thought with, and what closes it, where the template shows no thought in turns.
        header: what the prompt begins a turn with, the prefill included.
        frame: what stands before and behind the words of a turn without reasoning.
        prompt: the prompt of a small conversation.
    """

    blocks: bool
    system: bool
    reasoning_key: str
    words_beside_calls: bool
    crowded: bool
    calls: CallForm | None
    calls_problem: str
    parallel: bool
    answer_stop: Stop
    call_stop: Stop
    thought: tuple[str, str] | None
    prefill: str
    unseen: tuple[str, str] | None
    header: str
    frame: tuple[str, str]
    prompt: str

    def prefilled(self, prompt: str) -> str:
        """What of a turn's thought a prompt has already written."""
        return _prefill(prompt, self.thought, self.unseen)


def prove(render: Render, tokens: re.Pattern[str]) -> Form:
    """Prove what a template does.

    Args:
        render: renders with it.
        tokens: matches every token that the tokenizer never takes apart; the stop token must be one of them.

    Raises:
        TemplateError: it does not show what is said, or nothing can be proved about where a turn ends.
    """
    return _Proof(render, tokens).form()


def cut(body: str, stop: Stop) -> str:
    """A turn's text, stop token included, from what a template wrote behind the prompt.

    Raises:
        TemplateError: the stop token is not in it, or more than once.
    """
    turn = body + stop.token if stop.implicit else body[: body.rfind(stop.token) + len(stop.token)]
    if not turn.endswith(stop.token) or turn.count(stop.token) != 1:
        raise TemplateError(
            f"the chat template does not end an assistant turn with the stop token {stop.token!r}, once"
        )
    return turn


class _Proof:
    def __init__(self, render: Render, tokens: re.Pattern[str]) -> None:
        self.render = render
        self.tokens = tokens
        self.blocks = False

    def form(self) -> Form:
        self.blocks = self._blocks()
        user, answer = self._say("user", ASK), self._say("assistant", ANSWER)
        prompt = self.render([user], [], True)
        said = self.render([user, answer], [], False)
        followed = self._try([user, answer, self._say("user", MORE)], [], True)
        if ANSWER not in said or followed is None or ANSWER not in followed:
            raise TemplateError("the chat template does not show what an assistant says")
        stop = next(iter(self._stops(prompt, said, followed, ANSWER)), None)
        if stop is None:
            raise TemplateError(
                "the chat template ends an assistant turn with no token of its own; it cannot be masked"
            )
        calls, problem, parallel, call_stop = self._calls(user)
        key, shown = self._reasoning(user, calls)
        unseen = self._unseen(prompt, said, user)
        thought = _tags(shown) if shown else (unseen[0].strip(), unseen[1].strip()) if unseen else None
        opened = self._try([user], [], False) or prompt
        frame = ("", "")
        if said.startswith(prompt):
            head, _, foot = cut(said[len(prompt) :], stop).removesuffix(stop.token).partition(ANSWER)
            frame = (head, foot)
        return Form(
            blocks=self.blocks,
            system=SYSTEM in (self._try([self._say("system", SYSTEM), user], [], True) or ""),
            reasoning_key=key,
            words_beside_calls=calls is None or ANSWER in (self._beside(user, calls) or ""),
            crowded=bool(key) and calls is not None and self._crowded(user, calls, key),
            calls=calls,
            calls_problem=problem,
            parallel=parallel,
            answer_stop=stop,
            call_stop=call_stop or stop,
            thought=thought,
            prefill=_prefill(prompt, thought, unseen),
            unseen=unseen,
            header=prompt[len(opened) :] if prompt.startswith(opened) else "",
            frame=frame,
            prompt=prompt,
        )

    def _blocks(self) -> bool:
        for self.blocks in (False, True):
            if ASK in (self._try([self._say("user", ASK)], [], True) or ""):
                return self.blocks
        raise TemplateError("the chat template does not show what a user says")

    def _try(self, messages: list[Plain], tools: list[Plain], generate: bool) -> str | None:
        try:
            return self.render(messages, tools, generate)
        except TemplateError:
            return None

    def _say(self, role: str, text: str) -> Plain:
        return {"role": role, "content": [{"type": "text", "text": text}] if self.blocks else text}

    def _calling(self, how: CallForm, places: tuple[str, ...], **more: Any) -> list[Plain]:
        """An assistant turn with calls, and the results of all of them."""
        calls: list[Plain] = []
        results: list[Plain] = []
        for index, place in enumerate(places):
            name = f"zqcall00{index}" if how.short_ids else f"call_0_{index}"
            arguments = f'{{"place": "{place}"}}' if how.arguments_as_text else {"place": place}
            calls.append({"id": name, "type": "function", "function": {"name": NAME, "arguments": arguments}})
            results.append({**self._say("tool", f"{RESULT}{index}"), "tool_call_id": name, "name": NAME})
        content = None if how.empty_is_none else self._say("assistant", "")["content"]
        return [{"role": "assistant", "content": content, **more, "tool_calls": calls}, *results]

    def _calls(self, user: Plain) -> tuple[CallForm | None, str, bool, Stop | None]:
        """How calls are taken, why not, whether several are, and what ends a turn with calls."""
        prompt = self._try([user], [PROBE_TOOL], True)
        if prompt is None:
            return None, "it does not take tools", False, None
        problem = "it does not show tool calls and their results"
        for short in (False, True):
            for none in (False, True):
                for text in (False, True):
                    how = CallForm(text, none, short)
                    one = self._shown(user, how, (FIRST,))
                    if one is None:
                        continue
                    both = self._shown(user, how, (FIRST, SECOND))
                    stops = self._stops(prompt, *(both or one), SECOND if both else FIRST)
                    stop = next((each for each in stops if self._ends(prompt, *one, FIRST, each)), None)
                    if stop is not None:
                        return how, "", both is not None, stop
                    problem = "it does not end turns with one call and with several by the same token"
        return None, problem, False, None

    def _shown(self, user: Plain, how: CallForm, places: tuple[str, ...]) -> tuple[str, str] | None:
        """A turn with calls without and with what follows it; `None` if not all of it is shown."""
        turn, *results = self._calling(how, places)
        said = self._try([user, turn], [PROBE_TOOL], False)
        followed = self._try([user, turn, *results], [PROBE_TOOL], True)
        if said is None or followed is None:
            return None
        asked = said.rfind(ASK)
        if any(place not in said or place not in followed for place in places) or NAME not in said[asked:]:
            return None
        if f"{{'place': '{FIRST}'}}" in said:  # arguments written as Python has them: they are wanted as text
            return None
        return (said, followed) if all(f"{RESULT}{i}" in followed for i in range(len(places))) else None

    def _stops(self, prompt: str, said: str, followed: str, mark: str) -> list[Stop]:
        """Tokens that may end the turn whose last own words are `mark`, the likeliest first.

        The last one that is written whatever follows; else the one that is written only as long as nothing follows;
        else the one that begins what follows.
        """
        tail, after = said[said.rindex(mark) + len(mark) :], followed[followed.index(mark) + len(mark) :]
        shared = _shared(tail, after)
        places = list(self.tokens.finditer(tail))
        kept = [found for found in places if found.end() <= shared]
        stops = [Stop(kept[-1].group())] if kept else []
        stops += [Stop(found.group()) for found in places[len(kept) : len(kept) + 1] if found.start() <= shared]
        if (begins := self.tokens.match(after, len(tail))) and after.startswith(tail):
            stops.append(Stop(begins.group(), implicit=True))
        return [stop for stop in stops if self._ends(prompt, said, followed, mark, stop)]

    def _ends(self, prompt: str, said: str, followed: str, mark: str, stop: Stop) -> bool:
        """Whether `stop` stands in the turn exactly once, and behind its last words."""
        if stop.implicit and not followed.startswith(said + stop.token):
            return False
        begin = _shared(prompt, said)
        try:
            return mark not in cut(said[begin:], stop).rpartition(stop.token)[2] and (
                stop.implicit or stop.token in said[said.rindex(mark) :]
            )
        except TemplateError:
            return False

    def _reasoning(self, user: Plain, calls: CallForm | None) -> tuple[str, str]:
        """The key under which reasoning is read, and a rendering that shows it."""
        for key in REASONING_KEYS:
            turns = [[{**self._say("assistant", ANSWER), key: THOUGHT}]]
            if calls:
                turns.append(self._calling(calls, (FIRST,), **{key: THOUGHT})[:1])
            for turn in turns:
                text = self._try([user, *turn], [PROBE_TOOL] if calls else [], False) or ""
                if THOUGHT in text:
                    return key, text
        return "", ""

    def _crowded(self, user: Plain, calls: CallForm, key: str) -> bool:
        return self._beside(user, calls, **{key: THOUGHT}) is None

    def _beside(self, user: Plain, calls: CallForm, **more: Any) -> str | None:
        """A turn with words and a call."""
        turn = {**self._calling(calls, (FIRST,), **more)[0], "content": self._say("assistant", ANSWER)["content"]}
        return self._try([user, turn], [PROBE_TOOL], False)

    def _unseen(self, prompt: str, said: str, user: Plain) -> tuple[str, str] | None:
        """Where the prompt opens a thought that no turn shows (DeepSeek-R1): how it is opened and closed.

        Proof: a turn that spells the thought as the model would, behind what the prompt has written, is rendered as
        the same turn without it (but for white space).
        """
        opened = prompt[_shared(prompt, said) :]
        tag = re.fullmatch(r"<(\w+)>\s*", opened)
        if not tag:
            return None
        closing = f"\n</{tag.group(1)}>\n\n"
        spelt = self._try([user, self._say("assistant", f"{opened}{THOUGHT}{closing}{ANSWER}")], [], False)
        return (opened, closing) if re.sub(f"\\s+(?={ANSWER})", "", spelt or "") == said else None


def _shared(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginning."""
    length = min(len(one), len(other))
    return next((at for at in range(length) if one[at] != other[at]), length)


def _tags(shown: str) -> tuple[str, str] | None:
    """What stands directly before and behind the reasoning."""
    before, _, after = shown.partition(THOUGHT)
    opening = re.search(r"(?:<[^<>]*>\w*|\[\w+\])\s*$", before)
    closing = re.match(r"\s*(<[^<>]*>|\[/?\w+\])", after)
    return (opening.group().strip(), closing.group(1)) if opening and closing else None


def _prefill(prompt: str, thought: tuple[str, str] | None, unseen: tuple[str, str] | None) -> str:
    """What of a thought the prompt has already written."""
    if unseen:
        return unseen[0] if prompt.endswith(unseen[0]) else ""
    if thought is None:
        return ""
    found = re.search(f"{re.escape(thought[0])}\\s*(?:{re.escape(thought[1])}\\s*)?$", prompt)
    return found.group() if found else ""
