"""Every chat template that TRL ships: what is rendered turn by turn is what the model itself would be given."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cache

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from templates import CONVERSATIONS, TOOLS, says, tokenizer_for, trl_folder, trl_templates, user
from test_formats import BEGINNINGS

from agentdistill.chat import Renderer
from agentdistill.errors import SegmentError, TemplateError
from agentdistill.records import Completion, Message, Step, Task, ToolCall, Trajectory

TEMPLATES = trl_templates()
TABLE: dict[str, dict[str, str]] = {}

# What templates refuse, with what they say; everything else must work.
CANNOT = {
    "cannot carry tool calls": "no tools",
    "single tool-calls at once": "one call only",
    "does not show the tool calls": "one call only",
    "as prompt + turn + stop token": "unproved",
}


@dataclass
class Walk:
    """A conversation as it is met turn by turn: what is fed, how often anew, and which spans are turns."""

    ids: list[int] = field(default_factory=list)
    anew: int = 0
    spans: list[list[int]] = field(default_factory=list)


def plain(renderer: Renderer, messages: list[Message], generate: bool) -> list[int]:
    """The model's own full rendering, by transformers in one go."""
    return list(
        renderer.tokenizer.apply_chat_template(
            renderer.template._plain_all(messages),
            tools=[{"type": "function", "function": tool.model_dump()} for tool in TOOLS],
            tokenize=True,
            add_generation_prompt=generate,
            return_dict=False,
        )
    )


def walk(renderer: Renderer, messages: list[Message]) -> Walk:
    """Walk through a conversation, and compare with the full rendering before each turn."""
    walked, covered = Walk(), 0
    for at, message in enumerate([*messages, None]):
        if message is not None and message.role != "assistant":
            continue
        before = messages[:at]
        if message is None and before[-1].role == "assistant":
            break
        prompt = renderer.prompt(walked.ids, covered, before, TOOLS)
        whole = plain(renderer, before, generate=True)
        kept = whole[: len(walked.ids)] == walked.ids
        assert prompt.fresh != kept, "rendered anew exactly where the template has not kept what was written"
        walked.ids = prompt.ids if prompt.fresh else walked.ids + prompt.ids
        assert walked.ids == whole
        walked.anew += prompt.fresh
        if message is not None:
            turn = renderer.turn(before, message, TOOLS)
            check_turn(renderer, walked.ids, turn, message)
            walked.ids, covered = walked.ids + turn, at + 1
            walked.spans.append(turn)
    return walked


def check_turn(renderer: Renderer, prompt: list[int], turn: list[int], message: Message) -> None:
    """The supervised ids are the turn, whole, with its stop token, and say what the teacher said."""
    form = renderer.template.form
    stop = renderer.template.stop(message).token
    assert turn[-1] == renderer.tokenizer.convert_tokens_to_ids(stop)
    assert turn.count(turn[-1]) == 1
    read = renderer.read(turn, 0, TOOLS, prompt)
    assert [(call.name, call.arguments) for call in read.tool_calls] == [
        (call.name, call.arguments) for call in message.tool_calls
    ]
    said = message.content if form.words_beside_calls or not message.tool_calls else ""
    if form.crowded and message.tool_calls:  # gpt-oss thinks the words beside a call
        assert said in (read.content, read.reasoning)
    else:
        assert read.content == said
        assert read.reasoning in ("", message.reasoning)


def trajectory(messages: list[Message]) -> Trajectory:
    """The conversation as a teacher's trace."""
    first = next(at for at, message in enumerate(messages) if message.role == "assistant")
    steps: list[Step] = []
    for at in range(first, len(messages)):
        if messages[at].role == "assistant":
            end = next((i for i in range(at + 1, len(messages)) if messages[i].role == "assistant"), len(messages))
            steps.append(
                Step(
                    actor="teacher",
                    completion=Completion(message=messages[at]),
                    observations=tuple(messages[at + 1 : end]),
                )
            )
    task = Task(id="t", environment="e", instruction="i")
    return Trajectory(
        id="t",
        task=task,
        policy="p",
        seed=0,
        opening=tuple(messages[:first]),
        tools=TOOLS,
        steps=tuple(steps),
        ending="submitted",
    )


def supervised(renderer: Renderer, messages: list[Message]) -> list[list[int]]:
    """The spans that carry loss, of all rows in order."""
    spans: list[list[int]] = []
    for row in renderer.rows(trajectory(messages), trained="teacher"):
        for at, (token, loss) in enumerate(zip(row.ids, row.mask, strict=True)):
            if loss and not (at and row.mask[at - 1]):
                spans.append([])
            if loss:
                spans[-1].append(token)
    return spans


def outcome(renderer: Renderer, messages: list[Message]) -> str:
    try:
        walked = walk(renderer, messages)
    except TemplateError as error:
        (refusal,) = [word for said, word in CANNOT.items() if said in str(error)]
        with pytest.raises(TemplateError):
            renderer.rows(trajectory(messages), trained="teacher")
        return refusal
    assert supervised(renderer, messages) == walked.spans
    return f"{walked.anew + 1} rows" if walked.anew else "kept"


def thoughts(renderer: Renderer) -> str:
    """Where the template reads reasoning, and whether answers show it."""
    form = renderer.template.form
    asked, said = CONVERSATIONS["reasoning, no tools"][:2]
    try:
        shown = said.reasoning in renderer.template.turn([asked], said)
    except TemplateError:
        shown = False
    if not form.reasoning_key:
        return "forgotten" if shown else "-"
    return form.reasoning_key + ("" if shown else ", not in answers")


@pytest.mark.skipif("CI" not in os.environ and trl_folder() is None, reason="TRL's templates are not installed")
def test_the_templates_of_trl_are_there():
    assert len(TEMPLATES) > 60


@pytest.mark.parametrize("name", TEMPLATES)
def test_turn_by_turn_is_what_the_model_would_be_given(name):
    renderer = Renderer(tokenizer_for(TEMPLATES[name]))
    form = renderer.template.form
    stops = [form.answer_stop, *([form.call_stop] if form.calls and form.call_stop != form.answer_stop else [])]
    TABLE[name] = {
        "ends turns with": " ".join(f"{stop.token}{' (next message)' if stop.implicit else ''}" for stop in stops),
        "calls": (renderer.reader.format + ("" if form.parallel else ", one")) if form.calls else "no tools",
        "thoughts": thoughts(renderer),
    }
    for kind, messages in CONVERSATIONS.items():
        TABLE[name][kind] = outcome(renderer, messages)
    assert TABLE[name]["plain"] != "no tools"
    if TABLE[name]["plain"] != "unproved":
        asked, said = CONVERSATIONS["plain"][:2]
        assert renderer.count(said) == len(renderer.turn([asked], said))
    if form.calls is None:
        assert {TABLE[name][kind] for kind in ("tools", "parallel", "error", "unicode")} == {"no tools"}


@cache
def renderer_for(name: str) -> Renderer:
    return Renderer(tokenizer_for(TEMPLATES[name]))


@pytest.mark.parametrize(
    "name", [name for name in ("llama3_1", "gemma3", "cohere2", "deepseekv3", "qwen3") if TEMPLATES]
)
def test_a_tokenizer_that_adds_bos_itself_adds_none_to_a_conversation(name):
    renderer = Renderer(tokenizer_for(TEMPLATES[name], adds_bos=True))
    assert renderer.tokenizer.encode("x")[0] == renderer.tokenizer.bos_token_id
    for kind in ("plain", "reasoning, no tools"):
        assert walk(renderer, CONVERSATIONS[kind]).ids.count(renderer.tokenizer.bos_token_id) == (name != "qwen3")


@pytest.mark.parametrize("name", [name for name in ("gemma", "gemma3", "phi3", "qwen3") if TEMPLATES])
def test_what_the_system_says_is_shown_to_models_without_such_messages_too(name):
    renderer = renderer_for(name)
    text = renderer.tokenizer.decode(renderer.prompt([], 0, CONVERSATIONS["system"][:2]).ids)
    assert text.count("Be brief.") == 1
    assert text.index("Be brief.") < text.index("Hello.")


@pytest.mark.parametrize("name", TEMPLATES)
def test_after_a_spoilt_call_every_model_can_go_on(name):
    renderer = renderer_for(name)
    if not renderer.reader.format:
        pytest.skip("no tools")
    opening = [user("Go to the dock.")]
    fed = renderer.prompt([], 0, opening, TOOLS).ids
    spoilt = BEGINNINGS[renderer.reader.format] + "{\ufffd"
    thought = renderer.template.form.thought
    closing = thought[1] if thought and renderer.template.form.prefill.strip() == thought[0] else ""
    sampled = [*renderer.tokenizer.encode(closing + spoilt, add_special_tokens=False), renderer.stop_id]
    message = renderer.read(sampled, 0, TOOLS, fed)
    assert [bool(call.problem) for call in message.tool_calls] == [True]
    answer = Message(role="tool", content="Error: " + message.tool_calls[0].problem, tool_call_id="call_0_0", name="")
    known = fed + sampled
    prompt = renderer.prompt(known, 2, [*opening, message, answer], TOOLS)
    text = renderer.tokenizer.decode(prompt.ids if prompt.fresh else known + prompt.ids)
    assert renderer.template.defuse("Error: " + message.tool_calls[0].problem) in text


WORDS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["</think>", "<think>", "3", "true", "null", "it's", 'a "b"', "</parameter>", "\n x \n", "}]"]),
)
CALLS = st.one_of(
    st.builds(lambda place, n: ("go", {"place": place, "n": n}), WORDS, st.integers(-9, 10**12)),
    st.builds(lambda at: ("look", {"at": at}), WORDS),
    st.just(("look", {})),
)
TAUGHT = st.tuples(WORDS, st.lists(CALLS, max_size=2), st.one_of(st.just(""), WORDS), WORDS)


@pytest.mark.skipif(not TEMPLATES, reason="TRL's templates are not installed")
@given(name=st.sampled_from(sorted(TEMPLATES) or [""]), turns=st.lists(TAUGHT, min_size=1, max_size=3))
@settings(max_examples=150)
def test_what_is_learnt_says_what_the_teacher_meant_or_is_refused(name, turns):
    renderer = renderer_for(name)
    messages = [user("Begin.")]
    for number, (words, calls, reasoning, answer) in enumerate(turns):
        made = [ToolCall(id=f"call_{number}_{at}", name=of, arguments=given) for at, (of, given) in enumerate(calls)]
        messages.append(says(words, *made, reasoning=reasoning))
        messages += [Message(role="tool", content=answer, tool_call_id=call.id, name=call.name) for call in made] or [
            user(answer)
        ]
    try:
        spans = supervised(renderer, messages)
    except SegmentError:
        assume(False)
    form = renderer.template.form
    taught = [message for message in messages if message.role == "assistant"]
    assert len(spans) == len(taught)
    for span, message in zip(spans, taught, strict=True):
        stop = renderer.template.stop(message).token
        assert span.count(renderer.tokenizer.convert_tokens_to_ids(stop)) == 1
        assert span[-1] == renderer.tokenizer.convert_tokens_to_ids(stop)
        text = renderer.tokenizer.decode(span)
        if form.words_beside_calls or not message.tool_calls:
            assert renderer.template.defuse(message.content).strip() in text
        defused = [(call.name, renderer.template.defuse_all(call.arguments)) for call in message.tool_calls]
        read = renderer.read(span, 0, TOOLS, renderer.tokenizer.encode(form.prompt, add_special_tokens=False))
        if not name.startswith("deepseekv3"):  # its prompt begins a thought after a question only
            assert [(call.name, call.arguments) for call in read.tool_calls] == defused
