"""Tool calls in every form that models write them in: read as they were meant, and never an exception."""

from __future__ import annotations

import ast
import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from templates import TOOLS, go, look, says, tokenizer_for, trl_folder, trl_templates, user

from agentdistill.chat import Renderer
from agentdistill.chat.formats import FORMATS
from agentdistill.chat.values import schemas_of, storable, typed
from agentdistill.errors import TemplateError
from agentdistill.records import Message, ToolCall, digest_of

SCHEMAS = schemas_of(list(TOOLS))
GO = ("go", {"place": "the dock", "n": 3})
LOOK = ("look", {"at": "boxes"})
ARGUMENTS = '{"place": "the dock", "n": 3}'

# (form, what a model wrote, the words beside the calls, the calls)
WRITTEN = [
    ("hermes", f'<tool_call>\n{{"name": "go", "arguments": {ARGUMENTS}}}\n</tool_call>', "", [GO]),
    (
        "function tags",
        "I go.\n<tool_call>\n<function=go>\n<parameter=place>\nthe dock\n</parameter>\n<parameter=n>\n3\n</parameter>\n"
        "</function>\n</tool_call>\n<tool_call>\n<function=look>\n<parameter=at>\nboxes\n</parameter>\n</function>\n"
        "</tool_call>",
        "I go.",
        [GO, LOOK],
    ),
    (
        "glm",
        "<tool_call>go\n<arg_key>place</arg_key>\n<arg_value>the dock</arg_value>\n<arg_key>n</arg_key>\n"
        "<arg_value>3</arg_value>\n</tool_call>",
        "",
        [GO],
    ),
    (
        "glm",
        "<tool_call>go<arg_key>place</arg_key><arg_value>the dock</arg_value><arg_key>n</arg_key>"
        "<arg_value>3</arg_value></tool_call>",
        "",
        [GO],
    ),
    ("llama json", f'{{"name": "go", "parameters": {ARGUMENTS}}}', "", [GO]),
    ("llama json", f'<|python_tag|>{{"name": "go", "parameters": {ARGUMENTS}}}', "", [GO]),
    (
        "llama json",
        f'{{"type": "function", "name": "go", "parameters": {ARGUMENTS}}}; '
        '{"name": "look", "parameters": {"at": "boxes"}}',
        "",
        [GO, LOOK],
    ),
    ("llama json", "{a set} of words", "{a set} of words", []),
    ("mistral", f'Words. [TOOL_CALLS] [{{"name": "go", "arguments": {ARGUMENTS}, "id": "abcdefghi"}}]', "Words.", [GO]),
    ("mistral", f'[TOOL_CALLS]go[ARGS]{ARGUMENTS}[TOOL_CALLS]look[ARGS]{{"at": "boxes"}}', "", [GO, LOOK]),
    ("mistral", f"[TOOL_CALLS]go[CALL_ID]abcdefghi[ARGS]{ARGUMENTS}", "", [GO]),
    ("mistral", f"[TOOL_CALLS]go{ARGUMENTS}", "", [GO]),
    (
        "python list",
        "<|tool_call_start|>[go(place='the dock', n=3), look(at=\"boxes\")]<|tool_call_end|>",
        "",
        [GO, LOOK],
    ),
    ("python list", "<|tool_call_start|>[look(at='a\nb')]<|tool_call_end|>", "", [("look", {"at": "a\nb"})]),
    ("bare python", "[go(place='the dock', n=3)]", "", [GO]),
    ("bare python", "<|python_start|>[look(at='boxes')]<|python_end|>", "", [LOOK]),
    ("bare python", "[1, 2] is a list", "[1, 2] is a list", []),
    (
        "harmony",
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.go "
        f"<|constrain|>json<|message|>{ARGUMENTS}",
        "",
        [GO],
    ),
    (
        "harmony",
        "<|channel|>commentary<|message|>I go.<|end|><|start|>assistant to=functions.go<|channel|>commentary json"
        f"<|message|>{ARGUMENTS}",
        "I go.",
        [GO],
    ),
    (
        "deepseek",
        "Words.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>go\n```json\n"
        f"{ARGUMENTS}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "Words.",
        [GO],
    ),
    (
        "deepseek",
        f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>go<｜tool▁sep｜>{ARGUMENTS}<｜tool▁call▁end｜>"
        '<｜tool▁call▁begin｜>look<｜tool▁sep｜>{"at": "boxes"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        "",
        [GO, LOOK],
    ),
    ("gemma", '<|tool_call>call:go{n:3,place:<|"|>the dock<|"|>}<tool_call|>', "", [GO]),
    (
        "invoke tags",
        '<function_calls>\n<invoke name="go">\n<parameter name="place">the dock</parameter>\n'
        '<parameter name="n">3</parameter>\n</invoke>\n</function_calls>',
        "",
        [GO],
    ),
    (
        "recipients",
        ' to=self<|message|>Hm.<|eom|><|start|>assistant to=go<|message|><a:function_calls>\n<a:invoke name="go">\n'
        '<a:parameter name="place">the dock</a:parameter>\n<a:parameter name="n">3</a:parameter>\n</a:invoke>\n'
        "</a:function_calls>",
        "",
        [GO],
    ),
    (
        "kimi",
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.go:0<|tool_call_argument_begin|>"
        f"{ARGUMENTS}<|tool_call_end|><|tool_calls_section_end|>",
        "",
        [GO],
    ),
    (
        "action",
        f'<|START_ACTION|>[{{"tool_call_id": "0", "tool_name": "go", "parameters": {ARGUMENTS}}}]<|END_ACTION|>',
        "",
        [GO],
    ),
    ("phi", f'<|tool_call|>[{{"name": "go", "arguments": {ARGUMENTS}}}]<|/tool_call|>', "", [GO]),
]
# Beginnings of calls in every form; what follows is spoilt in every way.
BEGINNINGS = {
    "hermes": "<tool_call>",
    "function tags": "<tool_call><function=go>",
    "glm": "<tool_call>go<arg_key>",
    "llama json": '{"name": ',
    "mistral": "[TOOL_CALLS]",
    "python list": "<|tool_call_start|>[go(",
    "bare python": "[go(",
    "harmony": "<|channel|>commentary to=functions.go<|message|>",
    "deepseek": "<｜tool▁call▁begin｜>",
    "gemma": "<|tool_call>call:go{",
    "invoke tags": "<function_calls>",
    "recipients": " to=go<|message|>",
    "kimi": "<|tool_call_begin|>",
    "action": "<|START_ACTION|>",
    "phi": "<|tool_call|>",
}
SPOILT = [
    "",
    "{",
    '{"place": NaN}',
    '{"place": 1e999}',
    "[" * 5000,
    "[" * 70 + "]" * 70,
    "\x00",
    "'" * 7,
    "go(place=",
    "9" * 6000,
    '{"a":' * 3000,
]


@pytest.mark.parametrize(("form", "text", "words", "calls"), WRITTEN)
def test_calls_are_read_as_they_were_meant(form, text, words, calls):
    said = FORMATS[form](text, SCHEMAS)
    assert [(call.name, call.arguments, call.problem) for call in said.calls] == [(*call, "") for call in calls]
    assert said.content.strip() == words


def test_every_form_has_an_example_and_a_way_to_be_spoilt():
    assert {form for form, *_ in WRITTEN} == set(FORMATS) == set(BEGINNINGS)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("rest", SPOILT, ids=range(len(SPOILT)))
def test_a_spoilt_call_has_a_problem_and_raises_nothing(form, rest):
    said = FORMATS[form](BEGINNINGS[form] + rest, SCHEMAS)
    assert said.calls
    assert said.calls[-1].problem
    assert len(said.calls[-1].problem) < 200
    json.dumps(storable(said.calls[-1].arguments))


@given(form=st.sampled_from(sorted(FORMATS)), data=st.data())
def test_whatever_is_read_can_be_stored(form, data):
    pieces = st.one_of(
        st.sampled_from([BEGINNINGS[form], *(text for name, text, *_ in WRITTEN if name == form), *SPOILT[:9]]),
        st.text(st.characters(codec=None), max_size=12),
    )
    text = "".join(data.draw(st.lists(pieces, max_size=4)))
    cut = data.draw(st.integers(0, len(text)))
    said = FORMATS[form](text[:cut], SCHEMAS)
    calls = tuple(
        ToolCall(id=str(at), name=call.name, arguments=call.arguments, problem=call.problem)
        for at, call in enumerate(said.calls)
    )
    message = Message(role="assistant", tool_calls=calls)
    assert Message.model_validate_json(message.model_dump_json()) == message
    digest_of(message.model_dump(mode="json"))


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("3", {"type": "string"}, "3"),
        ("3", {"type": "integer"}, 3),
        ("3", {}, 3),
        ("three", {"type": "integer"}, "three"),
        ("True", {"type": "boolean"}, True),
        ("true", {"type": "boolean"}, True),
        ("null", {"anyOf": [{"type": "string"}, {"type": "null"}]}, None),
        ("3", {"anyOf": [{"type": "string"}, {"type": "null"}]}, "3"),
        ('["a"]', {"type": "array"}, ["a"]),
        ('{"a": 1}', {"type": ["object", "null"]}, {"a": 1}),
    ],
)
def test_bare_text_becomes_what_the_schema_has(text, schema, value):
    assert typed(text, schema) == value


# ---- forms proved for templates of our own ---------------------------------------------------------------------------

MISTRAL_OLD = (
    "<bos>{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }}[/INST]"
    "{% elif m.tool_calls %}{% for c in m.tool_calls %}{% if c.id | length != 9 %}"
    "{{ raise_exception('ids have nine characters') }}{% endif %}{% endfor %}[TOOL_CALLS] ["
    "{% for c in m.tool_calls %}"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}, "id": "{{ c.id }}"}'
    "{% if not loop.last %}, {% endif %}{% endfor %}]</s>"
    "{% elif m.role == 'assistant' %} {{ m.content }}</s>"
    "{% elif m.role == 'tool' %}[TOOL_RESULTS] {{ m.content }}[/TOOL_RESULTS]{% endif %}{% endfor %}"
)
MISTRAL_NEW = (
    "<bos>{% for m in messages %}{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]"
    "{% elif m.role == 'assistant' %}{{ m.content }}{% for c in m.tool_calls or [] %}"
    "[TOOL_CALLS]{{ c.function.name }}[ARGS]{{ c.function.arguments | tojson }}{% endfor %}</s>"
    "{% elif m.role == 'tool' %}[TOOL_RESULTS]{{ m.content }}[/TOOL_RESULTS]{% endif %}{% endfor %}"
)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% for c in m.tool_calls or [] %}CALL{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HERMES = '<tool_call>{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}</tool_call>'
ONE_CALL = (
    "{% if m.tool_calls %}{% if m.tool_calls | length > 1 %}{{ raise_exception('one call') }}{% endif %}"
    '{"name": "{{ m.tool_calls[0].function.name }}", "parameters": {{ m.tool_calls[0].function.arguments | tojson }}}'
    "{% endif %}"
)
STRANGE = CHATML.replace("CALL", "@@{{ c.function.name }}@{{ c.function.arguments | tojson }}@@")
RESPONSE_TEMPLATE: dict[str, Any] = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "tool_calls": {
            "open_pattern": r"@@(?P<name>\w+)@",
            "close": "@@",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}},
        },
        "content": {"close_pattern": r"<\|im_end\|>\s*|$", "content": "text"},
    },
}


@pytest.mark.parametrize(("template", "words"), [(MISTRAL_OLD, ""), (MISTRAL_NEW, "I go.")])
def test_both_forms_of_mistral_are_proved(template, words):
    renderer = Renderer(tokenizer_for(template, eos="</s>"))
    assert renderer.reader.format == "mistral"
    turn = says(words, go("call_0_0", "dock", 2), look("call_0_1", "boxes"))
    assert renderer.read(renderer.turn([user("Go.")], turn, TOOLS), 0, TOOLS) == turn


def test_arguments_are_handed_over_as_text_where_a_template_wants_them_so():
    renderer = Renderer(tokenizer_for(CHATML.replace("CALL", HERMES.replace(" | tojson", ""))))
    assert renderer.template.form.calls is not None
    assert renderer.template.form.calls.arguments_as_text
    turn = says("", go("call_0_0", "dock", 2))
    assert renderer.read(renderer.turn([user("Go.")], turn, TOOLS), 0, TOOLS) == turn


def test_a_form_that_no_reader_knows_is_refused():
    with pytest.raises(TemplateError, match="no reader gives back"):
        Renderer(tokenizer_for(STRANGE))


def response_renderer() -> Renderer:
    tokenizer = tokenizer_for(STRANGE)
    tokenizer.response_template = RESPONSE_TEMPLATE
    return Renderer(tokenizer)


def test_a_response_template_that_the_tokenizer_carries_is_used():
    renderer = response_renderer()
    assert renderer.reader.format == "response template"
    turn = says("I go.", go("call_0_0", "dock", 2), look("call_0_1", "boxes"))
    assert renderer.read(renderer.turn([user("Go.")], turn, TOOLS), 0, TOOLS) == turn


@pytest.mark.parametrize(
    "spoilt", ["@@go@{", '@@go@{"n": NaN}@@', "@@go@[]@@", "@@go@" + "[" * 5000, "@@go@" + "[" * 200 + "]" * 200 + "@@"]
)
def test_what_transformers_cannot_read_becomes_a_call_with_a_problem(spoilt):
    renderer = response_renderer()
    (call,) = renderer.reader.read(spoilt, 3, TOOLS).tool_calls
    assert call.problem
    assert call.id == "call_3_0"


def test_a_response_template_that_does_not_give_calls_back_is_left_aside():
    tokenizer = tokenizer_for(CHATML.replace("CALL", HERMES))
    tokenizer.response_template = RESPONSE_TEMPLATE
    assert Renderer(tokenizer).reader.format == "hermes"


def test_a_model_that_can_make_one_call_is_told_so_when_it_makes_two():
    llama = CHATML.replace("{% for c in m.tool_calls or [] %}CALL{% endfor %}", ONE_CALL)
    renderer = Renderer(tokenizer_for(llama))
    assert (renderer.reader.format, renderer.template.form.parallel) == ("llama json", False)
    (call,) = renderer.reader.read('{"name": "go", "parameters": {}}; {"name": "look", "parameters": {}}', 0).tool_calls
    assert "one call" in call.problem


def trl_response_templates() -> dict[str, dict[str, Any]]:
    """The response templates that TRL has for models whose own tokenizers lack one: those that are plain literals."""
    folder = trl_folder()
    if folder is None:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for node in ast.parse((folder.parent / "chat_template_utils.py").read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            with contextlib.suppress(ValueError):
                found[ast.unparse(node.targets[0])] = ast.literal_eval(node.value)
    return found


@pytest.mark.skipif(trl_folder() is None, reason="TRL's templates are not installed")
@pytest.mark.parametrize(
    ("name", "by"),
    [
        ("qwen3", "qwen3_template"),
        ("llama3_1", "llama3_template"),
        ("gptoss", "gptoss_template"),
        ("gemma4", "gemma4_template"),
    ],
)
def test_response_templates_of_trl_are_used_where_they_give_calls_back(name, by):
    tokenizer = tokenizer_for(trl_templates()[name])
    own = Renderer(tokenizer)
    tokenizer.response_template = trl_response_templates()[by]
    renderer = Renderer(tokenizer)
    # That for Llama 3 closes a call with the stop token, which is taken away before a turn is read.
    assert renderer.reader.format == (own.reader.format if name == "llama3_1" else "response template")
    for turn in (says("", go("call_0_0", "dock", 2)), says("I am there.", reasoning="That was easy.")):
        ids = renderer.turn([user("Go.")], turn, TOOLS)
        assert renderer.read(ids, 0, TOOLS) == own.read(ids, 0, TOOLS)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "piece", ["<arg_key>a</arg_key>", "<parameter=a>", "[go(a=", ",", "call:a{", "<｜tool▁sep｜>", "[ARGS]{"]
)
def test_reading_takes_no_longer_than_the_text_deserves(form, piece):
    text = BEGINNINGS[form] + piece * 4000
    begin = time.perf_counter()
    FORMATS[form](text, SCHEMAS)
    assert time.perf_counter() - begin < 2
