"""What the steps of an ATIF document say by ATIF's own keys, as records: both directions rest on it.

Who writes puts under `extra` whatever differs from this (`rest_of`); who reads puts it back (`filled`). So nothing is
lost, nothing stands there twice, and a document of somebody else is read by the same lines.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import JsonValue, ValidationError
from pydantic_core import PydanticSerializationError

from agentdistill.errors import UsageError
from agentdistill.formats.atif.schema import OURS, AtifCall, AtifMetrics, AtifStep, first_problem
from agentdistill.records import Completion, Fork, Message, Record, Step, Task, ToolCall, ToolSpec, Trajectory

Kind = TypeVar("Kind", bound=Record)


class Fed:
    """The token ids that are known of a conversation so far: all that its model was fed and said, in order."""

    def __init__(self) -> None:
        self.ids: tuple[int, ...] = ()

    def prompt(self, completion: Completion) -> tuple[int, ...]:
        """All that was fed for a completion."""
        return (() if completion.fresh else self.ids) + completion.context_ids

    def context(self, prompt: Sequence[int]) -> tuple[tuple[int, ...], bool]:
        """What of a prompt is new since the turn before, and whether the prompt was rendered afresh."""
        whole = tuple(prompt)
        if whole[: len(self.ids)] == self.ids:
            return whole[len(self.ids) :], False
        return whole, True

    def add(self, completion: Completion) -> None:
        """A turn has been taken."""
        if completion.token_ids:
            self.ids = (*self.prompt(completion), *completion.token_ids)


def turn_of(step: AtifStep, fed: Fed, model: str) -> Step:
    """A turn that a model took; `model` is who acts where the step does not say.

    Ids of what was sampled are taken only along with those of the prompt: without, they would claim to be all that the
    model saw.
    """
    metrics = step.metrics or AtifMetrics()
    prompt = metrics.prompt_token_ids or ()
    context, fresh = fed.context(prompt) if prompt else ((), False)
    ids = tuple(metrics.completion_token_ids or ()) if prompt else ()
    logprobs = tuple(metrics.logprobs or ())
    said, *heard = context_of(step)
    return Step(
        actor="student",
        completion=Completion(
            message=said,
            token_ids=ids,
            context_ids=context,
            logprobs=logprobs if len(logprobs) == len(ids) else (),
            input_tokens=metrics.prompt_tokens or 0,
            output_tokens=metrics.completion_tokens or 0,
            model=step.model_name or model,
            fresh=fresh,
        ),
        observations=tuple(heard),
    )


def context_of(step: AtifStep) -> list[Message]:
    """What a step adds to the conversation: an agent's words and the answers to its calls, or one message."""
    if step.source != "agent":
        heard = [step.message, *(result.content or "" for result in step.results)]
        return [Message(role=step.source, content="\n".join(filter(None, heard)))]
    calls = tuple(_call_of(call) for call in step.tool_calls or ())
    said = Message(role="assistant", content=step.message, reasoning=step.reasoning_content or "", tool_calls=calls)
    names = {call.id: call.name for call in calls}
    return [
        said,
        *(
            Message(
                role="tool",
                content=result.content or "",
                tool_call_id=result.source_call_id,
                name=None if result.source_call_id is None else names[result.source_call_id],
            )
            for result in step.results
        ),
    ]


def _call_of(call: AtifCall) -> ToolCall:
    problem = (call.extra or {}).get(OURS)
    problem = problem.get("problem") if isinstance(problem, dict) else None
    return ToolCall(
        id=call.tool_call_id,
        name=call.function_name,
        arguments=call.arguments,
        problem=problem if isinstance(problem, str) else "",
    )


def outline_of(
    trajectory_id: str,
    policy: str,
    parent: Fork | None,
    opening: Sequence[Message],
    tools: Sequence[ToolSpec],
    steps: Sequence[Step],
) -> Trajectory:
    """A trajectory of which no more is known than this. What the user asked first is the task."""
    asked = next((message.content for message in opening if message.role == "user"), "")
    return Trajectory(
        id=trajectory_id,
        task=Task(id=trajectory_id, environment="", instruction=asked),
        policy=policy,
        seed=0,
        opening=tuple(opening),
        tools=tuple(tools),
        steps=tuple(steps),
        ending="paused",
        parent=parent,
    )


def rest_of(known: Record, record: Record) -> dict[str, JsonValue]:
    """What must be added to `known` to make it `record`, of the same type: the fields that differ, at any depth."""
    rest: dict[str, JsonValue] = {}
    written: dict[str, Any] | None = None
    for name in type(record).model_fields:
        one, other = getattr(known, name), getattr(record, name)
        if one == other:
            continue
        if isinstance(one, Record) and isinstance(other, Record):
            rest[name] = rest_of(one, other)
        else:
            written = written or plain(record)
            rest[name] = written[name]
    return rest


def filled(known: Kind, rest: Mapping[str, JsonValue], name: str, key: Sequence[str]) -> Kind:
    """`known` with what `rest_of` has found; `key` leads to where that stands in the document called `name`.

    Raises:
        UsageError: it does not fit.
    """
    try:
        return type(known).model_validate(_joined(known, rest))
    except ValidationError as error:
        raise UsageError(f"{name}: {first_problem(error, type(known).model_fields, key)}") from error


def _joined(known: Record, rest: Mapping[str, JsonValue]) -> dict[str, Any]:
    joined: dict[str, Any] = {field: getattr(known, field) for field in type(known).model_fields}
    for field, value in rest.items():
        inner = joined.get(field)
        joined[field] = _joined(inner, value) if isinstance(inner, Record) and isinstance(value, dict) else value
    return joined


def plain(record: Record) -> dict[str, Any]:
    """A record as a JSON value; numbers that JSON lacks as text."""
    try:
        told: dict[str, Any] = json.loads(record.model_dump_json())
    except PydanticSerializationError:  # half characters, which `write_atif` replaces
        told = record.model_dump(mode="json")
    return told
