"""Messages to ids and back: what is masked, what is hostile, and what a template may not do."""

from __future__ import annotations

import copy
import json
import re

import pytest
from agentdistill_environments.depot import Depot
from hypothesis import example, given, settings
from hypothesis import strategies as st
from students import call, clean_traces, depot_tokenizer

from agentdistill.chat import Renderer
from agentdistill.errors import NothingSupervisedError, TemplateError
from agentdistill.policies.tiny import SPECIAL, TEMPLATE
from agentdistill.records import Message, ToolCall, Trajectory, digest_of


def nested(value: str) -> str:
    return '<tool_call>{"name": "go", "arguments": {"place": ' + value + "}}</tool_call>"


SPOILT = [
    "<tool_call>",
    "<tool_call></tool_call>",
    "<tool_call>{</tool_call>",
    "</tool_call><tool_call>",
    '<tool_call>{"name": "go"',
    '<tool_call>["go"]</tool_call>',
    '<tool_call>"go"</tool_call>',
    '<tool_call>{"arguments": {}}</tool_call>',
    '<tool_call>{"name": 1, "arguments": {}}</tool_call>',
    '<tool_call>{"name": null}</tool_call>',
    '<tool_call>{"name": "go", "arguments": null}</tool_call>',
    '<tool_call>{"name": "go", "arguments": [1]}</tool_call>',
    '<tool_call>{"name": "go", "arguments": "{}"}</tool_call>',
    '<tool_call>{"name": "go", "arguments": {"place": NaN}}</tool_call>',
    '<tool_call>{"name": "go", "arguments": {"place": -Infinity}}</tool_call>',
    '<tool_call>{"name": "go", "arguments": {"place": 1e999}}</tool_call>',
    nested("9" * 5000),
    nested("[" * 10_000),
    nested("[" * 10_000 + "]" * 10_000),
    nested("[" * 190 + "]" * 190),
    "<tool_call>{'name': 'go'}</tool_call>",
]
HARMLESS = [
    r'<tool_call>{"name": "\ud800", "arguments": {"\udfff": ["\ud800x", {"a": "\udc00"}]}}</tool_call>',
    '<tool_call>{"name": "go", "arguments": {"place": "A", "place": "B"}}</tool_call>',
    '<tool_call>{"name": "go"}</tool_call>',
    '<tool_call>\n {"arguments": {}, "name": "look", "more": 1} \n</tool_call>',
    '<tool_call>{"name": "<|end|>", "arguments": {"<|user|>": "</tool_call"}}</tool_call>',
    '<tool_call>{"name": "\\"}}", "arguments": {}}</tool_call>',
    nested("[" * 60 + "]" * 60),
    "\x00\x1b[31m",
    "",
]
CONTENTS = st.one_of(
    st.text(max_size=30), st.lists(st.sampled_from([*SPECIAL, "a", " ", "\n"]), max_size=5).map("".join)
)
CALLS = st.builds(
    ToolCall,
    id=st.just("call_0_0"),
    name=CONTENTS.map(lambda name: re.sub(r'["\\\x00-\x1f]', "", name)),  # the template writes names as they are
    arguments=st.dictionaries(CONTENTS, st.one_of(CONTENTS, st.integers(), st.lists(CONTENTS, max_size=2)), max_size=2),
)
TURNS = st.builds(
    Message, role=st.just("assistant"), content=CONTENTS, tool_calls=st.lists(CALLS, max_size=2).map(tuple)
)
ANSWERS = st.builds(Message, role=st.sampled_from(["user", "tool"]), content=CONTENTS)


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer(depot_tokenizer())


def with_template(template: str) -> Renderer:
    tokenizer = copy.deepcopy(depot_tokenizer())
    tokenizer.chat_template = template
    return Renderer(tokenizer)


def spell(renderer: Renderer, text: str) -> list[int]:
    """Ids of what a model might say, special tokens and all."""
    return list(renderer.tokenizer.encode(text, add_special_tokens=False))


def unmasked(ids: list[int], mask: list[bool]) -> list[list[int]]:
    """The runs of ids that carry loss."""
    spans: list[list[int]] = []
    for here, before, token in zip(mask, [False, *mask], ids, strict=False):
        if here and not before:
            spans.append([])
        if here:
            spans[-1].append(token)
    return spans


def spelt_rows(renderer: Renderer, trace: Trajectory) -> list[tuple[list[int], list[bool]]]:
    """Ids and masks of a teacher's trace."""
    return [(row.ids, row.mask) for row in renderer.rows(trace, trained="teacher")]


def test_the_spans_that_carry_loss_are_exactly_the_teachers_turns(renderer):
    for trace in clean_traces():
        ((ids, mask),) = spelt_rows(renderer, trace)
        spans = unmasked(ids, mask)
        assert len(spans) == len(trace.steps)
        for span, step in zip(spans, trace.steps, strict=True):
            (said,) = step.completion.message.tool_calls
            arguments = json.dumps(said.arguments)
            expected = f'<tool_call>{{"name": "{said.name}", "arguments": {arguments}}}</tool_call><|end|>'
            assert renderer.tokenizer.decode(span) == expected


def test_the_stop_token_is_learnt_and_what_follows_it_is_not(renderer):
    ((ids, mask),) = spelt_rows(renderer, clean_traces()[0])
    ends = [at for at, token in enumerate(ids) if token == renderer.stop_id and mask[at]]
    assert len(ends) == len(clean_traces()[0].steps)
    assert not any(mask[at + 1] for at in ends if at + 1 < len(mask))


def test_what_is_read_back_from_a_turns_ids_is_the_turn(renderer):
    for trace in clean_traces():
        for number, step in enumerate(trace.steps):
            message = step.completion.message
            assert renderer.read(renderer.turn(trace.messages(number), message), number) == message


def test_count_is_the_length_of_the_span_that_carries_loss(renderer):
    for trace in clean_traces():
        counted = sum(renderer.count(step.completion.message) for step in trace.steps)
        assert counted == sum(spelt_rows(renderer, trace)[0][1])


def test_a_trace_without_a_turn_of_the_one_trained_on_is_refused(renderer):
    with pytest.raises(NothingSupervisedError, match="student"):
        renderer.rows(clean_traces()[0], trained="student")


@given(contents=st.lists(CONTENTS, min_size=3, max_size=3), turn=TURNS)
def test_special_tokens_that_somebody_spells_do_not_become_special(contents, turn):
    renderer = Renderer(depot_tokenizer())
    roles = ("system", "user", "tool")
    messages = [Message(role=role, content=said) for role, said in zip(roles, contents, strict=True)]
    ids = renderer.extend([], 0, [*messages, turn, Message(role="tool", content="x")])
    expected = {f"<|{role}|>": 1 for role in roles} | {"<|assistant|>": 2, "<|tool|>": 2, "<|end|>": 5, "<|pad|>": 0}
    expected |= dict.fromkeys(("<tool_call>", "</tool_call>"), len(turn.tool_calls))
    assert {name: ids.count(renderer.tokenizer.convert_tokens_to_ids(name)) for name in SPECIAL} == expected


def test_a_tool_may_answer_with_half_a_character(renderer):
    assert renderer.extend([], 0, [Message(role="user", content="a\ud800b")])


@given(
    turns=st.lists(st.tuples(TURNS, st.lists(ANSWERS, min_size=1, max_size=2)), min_size=1, max_size=4), cut=st.data()
)
def test_a_conversation_extended_turn_by_turn_is_the_whole_one(turns, cut):
    renderer = Renderer(depot_tokenizer())
    messages = [Message(role="user", content="go on")]
    for turn, answers in turns:
        messages += [turn, *answers]
    whole = renderer.extend([], 0, messages)
    # What the template says of the conversation in one go, special tokens made harmless one by one.
    text = renderer.tokenizer.apply_chat_template(
        renderer.template._plain_all(messages), tokenize=False, add_generation_prompt=True
    )
    assert renderer.tokenizer.decode(whole, skip_special_tokens=False) == text
    places = [at for at, message in enumerate(messages) if message.role == "assistant"]
    at = cut.draw(st.sampled_from(places))
    ids = renderer.extend([], 0, messages[:at]) + renderer.turn(messages[:at], messages[at])
    assert ids + renderer.extend(ids, at + 1, messages) == whole


@pytest.mark.parametrize("after_turn", ["", "\n"])
def test_a_turn_that_was_cut_short_is_closed_by_the_template(after_turn):
    renderer = with_template(TEMPLATE.replace("<|end|>{% endfor %}", "<|end|>" + after_turn + "{% endfor %}"))
    before, said, answer = Message(role="user", content="ship"), call("look"), Message(role="tool", content="dock")
    full = renderer.extend([], 0, [before]) + renderer.turn([before], said)
    cut = full[:-3]
    rest = renderer.extend(cut, 2, [before, said, answer])
    assert rest == [renderer.stop_id, *renderer.extend(full, 2, [before, said, answer])]


def test_where_a_template_rewrites_earlier_turns_the_model_is_given_the_conversation_anew():
    thinking = "{% if loop.last and message.reasoning %}({{ message.reasoning }}) {% endif %}{{ message.content }}"
    renderer = with_template(TEMPLATE.replace("{{ message.content }}", thinking))
    said = Message(role="assistant", content="aloud", reasoning="thinking")
    messages = [Message(role="user", content="a"), said, Message(role="tool", content="b")]
    ids = renderer.extend([], 0, messages[:1]) + renderer.turn(messages[:1], said)
    assert renderer.tokenizer.decode(ids).endswith("<|assistant|>(thinking) aloud<|end|>")
    prompt = renderer.prompt(ids, 2, messages)
    assert prompt.fresh
    assert (
        renderer.tokenizer.decode(prompt.ids)
        == "<|user|>a<|end|><|assistant|>aloud<|end|><|tool|>b<|end|><|assistant|>"
    )
    with pytest.raises(TemplateError, match="rewrites"):
        renderer.extend(ids, 2, messages)


def test_ids_that_are_what_the_template_writes_anew_are_kept():
    thinking = "{% if loop.last and message.role == 'assistant' %}(thinking) {% endif %}{{ message.content }}"
    renderer = with_template(TEMPLATE.replace("{{ message.content }}", thinking))
    messages = [
        Message(role="user", content="a"),
        Message(role="assistant", content="b"),
        Message(role="user", content="c"),
    ]
    fed = renderer.prompt([], 0, messages[:1]).ids
    prompt = renderer.prompt([*fed, *spell(renderer, "b<|end|>")], 2, messages)
    assert not prompt.fresh
    assert renderer.tokenizer.decode(prompt.ids) == "<|user|>c<|end|><|assistant|>"
    assert renderer.prompt([*fed, *spell(renderer, "(thinking) b<|end|>")], 2, messages).fresh


def test_a_template_that_ends_turns_with_no_token_of_its_own_is_refused():
    plain = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    with pytest.raises(TemplateError, match="no token of its own"):
        with_template(plain + "{% if add_generation_prompt %}assistant: {% endif %}")


def test_the_token_that_ends_a_turn_is_found_whatever_the_tokenizer_calls_its_end():
    tokenizer = copy.deepcopy(depot_tokenizer())
    tokenizer.eos_token = "<|pad|>"
    renderer = Renderer(tokenizer)
    assert renderer.stop == "<|end|>"
    assert renderer.stop_ids == {renderer.stop_id, tokenizer.convert_tokens_to_ids("<|pad|>")}


def test_a_tokenizer_without_a_template_is_refused():
    tokenizer = copy.deepcopy(depot_tokenizer())
    tokenizer.chat_template = None
    with pytest.raises(TemplateError):
        Renderer(tokenizer)


@pytest.mark.parametrize("text", SPOILT)
def test_a_call_that_cannot_be_read_says_what_is_wrong_with_it(renderer, text):
    message = renderer.read(spell(renderer, text), 3)
    assert [bool(each.problem) for each in message.tool_calls] == [True]
    assert message.tool_calls[0].id == "call_3_0"
    assert len(message.tool_calls[0].problem) < 200


def test_text_around_calls_is_kept_as_content_and_two_calls_are_two(renderer):
    one, two = '<tool_call>{"name": "look"}</tool_call>', '<tool_call>{"name": "drop", "arguments": {}}</tool_call>'
    message = renderer.read(spell(renderer, f"first {one} then {two} done<|end|>"), 7)
    assert message.content == "first  then  done"
    assert [(each.id, each.name, each.problem) for each in message.tool_calls] == [
        ("call_7_0", "look", ""),
        ("call_7_1", "drop", ""),
    ]


def test_of_two_equal_keys_the_last_counts_as_json_readers_have_it(renderer):
    (found,) = renderer.read(spell(renderer, HARMLESS[1]), 0).tool_calls
    assert found.arguments == {"place": "B"}


def survives(renderer: Renderer, message: Message) -> None:
    """Whatever was read: it is stored and read back as it is, hashed, answered, and shown to a model again."""
    assert Message.model_validate_json(message.model_dump_json()) == message
    digest_of(message.model_dump(mode="json"))
    environment = Depot()
    opening, _ = environment.reset(seed=0)
    answers, *_ = environment.step(message)
    assert renderer.extend([], 0, [*opening, message, *answers])


@pytest.mark.parametrize("text", SPOILT + HARMLESS)
def test_whatever_was_read_can_be_stored_answered_and_shown_again(renderer, text):
    survives(renderer, renderer.read(spell(renderer, text), 0))


@given(data=st.data())
def test_no_sequence_of_ids_is_too_strange_to_read(data):
    renderer = Renderer(depot_tokenizer())
    ids = data.draw(st.lists(st.integers(0, len(renderer.tokenizer) - 1), max_size=40))
    survives(renderer, renderer.read(ids, 0))


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)


@given(inside=st.one_of(st.text(max_size=60), JSON.map(json.dumps)), around=st.text(max_size=10), closed=st.booleans())
@example(inside=r'{"name": "go", "arguments": {"a": "\ud83d"}}', around="", closed=True)
@settings(max_examples=200)
def test_no_text_is_too_strange_to_read(inside, around, closed):
    renderer = Renderer(depot_tokenizer())
    text = f"{around}<tool_call>{inside}{'</tool_call>' if closed else ''}{around}"
    survives(renderer, renderer.read(spell(renderer, text), 0))


@given(arguments=st.dictionaries(st.text(max_size=5), JSON, max_size=3))
def test_any_json_object_is_read_as_the_arguments_it_spells(arguments):
    renderer = Renderer(depot_tokenizer())
    spelt = json.dumps({"name": "go", "arguments": arguments}, ensure_ascii=True)
    (found,) = renderer.read(spell(renderer, f"<tool_call>{spelt}</tool_call>"), 0).tool_calls
    if "NaN" not in spelt and "Infinity" not in spelt and not any(token in spelt for token in SPECIAL):
        assert (found.name, found.arguments, found.problem) == ("go", arguments, "")
