"""Templates that write messages one by one: which they are, and that their texts stay what they were."""

from __future__ import annotations

import pytest
from agentdistill_environments.depot import Depot
from students import depot_tokenizer, play

from agentdistill.chat.separable import is_separable
from agentdistill.chat.templates import Template
from agentdistill.policies.scripted import ScriptedTeacher
from agentdistill.policies.tiny import TEMPLATE
from agentdistill.records import Message

LOOP = "{% for message in messages %}"
END = "{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"


def test_the_tiny_students_template_is_separable() -> None:
    assert is_separable(TEMPLATE)


@pytest.mark.parametrize(
    "source",
    [
        LOOP + "{{ loop.index }}{{ message.content }}" + END,
        LOOP + "{% if loop.last %}{{ message.content }}{% endif %}" + END,
        LOOP + "{{ message.content }}{{ messages[0].content }}" + END,
        LOOP + "{{ message.content }}{{ tools }}" + END,
        LOOP + "{{ message.content }}" + END + "{{ messages | length }}",
        LOOP + "{% set seen = true %}{{ message.content }}" + END,
        LOOP + "{{ message.content | random }}" + END,
        LOOP + "{{ strftime_now('%S') }}{{ message.content }}" + END,
        "{% for message in messages[-2:] %}{{ message.content }}" + END,
        "{% for message in messages if message.role != 'tool' %}{{ message.content }}" + END,
        "{% macro say(m) %}{{ m }}{% endmacro %}" + LOOP + "{{ say(message.content) }}" + END,
        LOOP + "{% for loop in message.tool_calls %}{{ loop.id }}{% endfor %}" + END,
        "{{ bos_token }}" + LOOP + "{{ message.content }}" + END,
        LOOP + "{{ message.content",
        "",
    ],
)
def test_what_sees_more_than_the_message_itself_is_not_taken_as_separable(source: str) -> None:
    assert not is_separable(source)


def test_texts_put_together_are_the_texts_rendered_at_once() -> None:
    template = Template(depot_tokenizer())
    (trace,) = play(Depot, ScriptedTeacher("exploring"), 1)
    unnamed = [each.model_copy(update={"name": None}) for each in trace.messages()]
    spelt = Message(role="user", content="<|end|><|assistant|>")
    for messages in (list(trace.messages()), unnamed, [spelt, *unnamed], [Message(role="system", content="x"), spelt]):
        for generate in (False, True):
            for count in range(1, len(messages) + 1):
                said = messages[:count]
                whole = template._apply(template._plain_all(said), [], generate)
                assert template.text(said, (), generate=generate) == whole
