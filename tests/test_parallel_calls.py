"""Two calls in one turn, one of them failing: through template, reader, environment, segment and mask."""

from __future__ import annotations

import pytest
from agentdistill_environments.depot import Depot
from students import depot_student, play
from templates import CONVERSATIONS, TOOLS, tokenizer_for, trl_templates
from test_drift import supervised

from agentdistill.chat import Renderer
from agentdistill.policies import Request
from agentdistill.policies.scripted import ScriptedPolicy
from agentdistill.records import Message, ToolCall
from agentdistill.segments import rows_of

BOTH = Message(
    role="assistant",
    tool_calls=(ToolCall(id="call_0_0", name="look"), ToolCall(id="call_0_1", name="drop")),
)
SPELT = (
    '<tool_call>{"name": "look", "arguments": {}}</tool_call><tool_call>{"name": "drop", "arguments": {}}</tool_call>'
)


def test_both_are_read_run_answered_and_learnt():
    renderer = depot_student().renderer

    def answer(request: Request) -> Message:
        turn = sum(message.role == "assistant" for message in request.messages)
        return renderer.read(renderer.turn(request.messages, BOTH, request.tools), turn, request.tools)

    (trace,) = play(Depot, ScriptedPolicy(answer), count=1)
    for number, step in enumerate(trace.steps):
        assert [message.tool_call_id for message in step.observations] == [f"call_{number}_0", f"call_{number}_1"]
        assert [outcome.status for outcome in step.outcomes] == ["ok", "failed"]
    steps = tuple(step.model_copy(update={"actor": "teacher"}) for step in trace.steps)
    taught = trace.model_copy(update={"steps": steps})
    (segment,) = rows_of(taught, renderer, 10_000)
    spans = [said for _, said in supervised(renderer.rows(taught, trained="teacher"))]
    assert [renderer.tokenizer.decode(list(span)) for span in spans] == [SPELT + "<|end|>"] * len(steps)
    assert segment.supervised == sum(map(len, spans))
    unlearnt = [token for token, loss in zip(segment.input_ids, segment.loss_mask, strict=True) if not loss]
    assert trace.steps[0].observations[1].content in renderer.tokenizer.decode(unlearnt)


@pytest.mark.parametrize("name", ["qwen2_5", "qwen3_5_think", "glm4moe", "gemma4", "muse_glimmer", "lfm2_v2"])
def test_in_other_families_both_are_read_back_and_answered_in_order(name):
    if name not in trl_templates():
        pytest.skip("TRL's templates are not installed")
    renderer = Renderer(tokenizer_for(trl_templates()[name]))
    messages = CONVERSATIONS["parallel"]
    prompt = renderer.prompt([], 0, messages[:1], TOOLS).ids
    read = renderer.read(renderer.turn(messages[:1], messages[1], TOOLS), 0, TOOLS, prompt)
    assert read.tool_calls == messages[1].tool_calls
    text = renderer.tokenizer.decode(renderer.prompt([], 0, messages[:4], TOOLS).ids)
    assert 0 < text.index("You are there.") < text.index("it is dark")
