"""From trajectories and recoveries to ATIF 1.7: every key that the format has, and the rest under `extra`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from itertools import takewhile
from typing import Any

from pydantic import JsonValue

from agentdistill.chat.values import whole
from agentdistill.errors import UsageError
from agentdistill.formats.atif.conversation import Fed, context_of, outline_of, plain, rest_of, turn_of
from agentdistill.formats.atif.reading import read_atif
from agentdistill.formats.atif.schema import OURS, WRITTEN, AtifStep
from agentdistill.records import Completion, Fork, Message, Recovery, Step, ToolCall, ToolSpec, Trajectory
from agentdistill.redaction import redact_json

NOTES = (
    "Steps with is_copied_context are context and not to be learnt from: another run's, up to the system step that "
    "marks where its world was restored and that no model saw, and turns handed back later. "
    "final_metrics has the tokens of what was new after the restore."
)


def write_atif(record: Trajectory | Recovery, *, world: str = "") -> dict[str, Any]:
    """A trajectory as an ATIF 1.7 document: a JSON object without secrets, which `read_atif` reads back as it was.

    The document begins with the system prompt, an empty one where the conversation had none, and has the tools'
    definitions. Where the trajectory left another one (a takeover, a hand-back), it is a document of its own in the
    other's session: all before the fork is copied context, each turn under the name of the model that took it; then one
    system step says from which snapshot the world was restored; what follows is what is new. So whoever trains on the
    agent's steps that are not copied trains on the teacher's.

    `extra.agentdistill` of the document has `parent_trajectory_id`, `takeover_step` (turns kept of the parent),
    `snapshot_id` (digest of the world there), `restore` and `reward` (the verdict's score, null without a verdict); for
    a `Recovery` besides `recovery`: divergence, place, depth, attempt, flip, costs and critique. Neither the private
    note of the teacher nor the attempts that were not kept are written. Whatever else a record knows stands under the
    same key of the step, call or document that it belongs to. A task's `data`, and with it what only the environment
    should know, is among that.

    Args:
        record: what happened.
        world: digest of the world that was restored, for a takeover that holds its snapshot no more.

    Raises:
        UsageError: a secret in the environment is also a word that documents are made of.
    """
    trajectory = record.trajectory if isinstance(record, Recovery) else record
    parent = trajectory.parent
    steps = _steps(trajectory, world)
    own = trajectory.steps[parent.step if parent else 0 :]
    about: dict[str, JsonValue] = {} if parent is None else _fork(trajectory, parent, world)
    about["reward"] = trajectory.verdict.score if trajectory.verdict else None
    if isinstance(record, Recovery):
        about["recovery"] = _recovery(record)
    agent: dict[str, Any] = {"name": OURS, "version": _version()}
    if trajectory.policy:
        agent["model_name"] = trajectory.policy
    agent["tool_definitions"] = [_definition(tool) for tool in trajectory.tools]
    document: dict[str, Any] = {
        "schema_version": WRITTEN,
        "session_id": parent.trajectory_id if parent else trajectory.id,
        "trajectory_id": trajectory.id,
        "agent": agent,
        "steps": steps,
        "final_metrics": {
            "total_prompt_tokens": sum(step.completion.input_tokens for step in own),
            "total_completion_tokens": sum(step.completion.output_tokens for step in own),
            "total_steps": len(steps),
        },
        "extra": {OURS: about},
    }
    if parent is not None:
        document["notes"] = NOTES
    known = outline_of(
        trajectory.id, trajectory.policy or OURS, parent, trajectory.opening, trajectory.tools, trajectory.steps
    )
    about |= rest_of(known, trajectory)
    return _clean(document)


def _steps(trajectory: Trajectory, world: str) -> list[dict[str, Any]]:
    """All steps, numbered from 1."""
    parent = trajectory.parent
    kept = min(parent.step, len(trajectory.steps)) if parent else 0
    taught = parent is not None and any(step.actor == "teacher" for step in trajectory.steps[kept:])
    written = _marked(_opening(trajectory.opening), parent is not None)
    fed = Fed()
    for at, step in enumerate(trajectory.steps):
        if parent is not None and at == kept:
            written.append(_restored(trajectory, parent, world))
        # Neither a student's turn after a hand-back nor one that was mistaken on purpose is there to be learnt.
        context = at < kept or step.completion.mistaken or (taught and step.actor == "student")
        written += _marked(_turn(step, _model(trajectory, at), fed, trajectory.policy), context)
        fed.add(step.completion)
    if parent is not None and kept == len(trajectory.steps):
        written.append(_restored(trajectory, parent, world))
    return [{"step_id": number, **step} for number, step in enumerate(written, 1)]


def _marked(steps: list[dict[str, Any]], context: bool) -> list[dict[str, Any]]:
    return [{**step, "is_copied_context": True} for step in steps] if context else steps


def _opening(messages: Sequence[Message]) -> list[dict[str, Any]]:
    steps = _context(messages)
    if not messages or messages[0].role != "system":
        # Readers look for the system prompt, or put the tools, in the first system step, wherever that is.
        steps.insert(0, {"source": "system", "message": "", "extra": {OURS: {"messages": []}}})
    return steps


def _turn(step: Step, model: str, fed: Fed, policy: str) -> list[dict[str, Any]]:
    """A turn, and the messages after it that answer none of its calls."""
    answers = tuple(takewhile(lambda message: message.role == "tool", step.observations))
    written = _said(step.completion.message, answers)
    written["model_name"] = model
    if metrics := _metrics(step.completion, fed):
        written |= {"metrics": metrics, "llm_call_count": 1}
    known = turn_of(AtifStep.model_validate({"step_id": 1, **written}), fed, policy)
    rest = rest_of(known, step.model_copy(update={"observations": answers}))
    written["extra"] = {OURS: {"actor": step.actor, **rest}}
    return [written, *_context(step.observations[len(answers) :])]


def _context(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages that no turn said: each a step, the answers to an assistant's calls within its step."""
    steps: list[dict[str, Any]] = []
    left = list(messages)
    while left:
        group = [left.pop(0)]
        (message,) = group
        if message.role == "assistant":
            group += takewhile(lambda each: each.role == "tool", left)
            del left[: len(group) - 1]
            written = _said(message, group[1:]) | {"is_copied_context": True}
        elif message.role == "tool":
            written = {"source": "system", "message": "", "observation": {"results": [{"content": message.content}]}}
        else:
            written = {"source": message.role, "message": message.content}
        if context_of(AtifStep.model_validate({"step_id": 1, **written})) != group:
            written["extra"] = {OURS: {"messages": [plain(each) for each in group]}}
        steps.append(written)
    return steps


def _said(message: Message, answers: Sequence[Message]) -> dict[str, Any]:
    """An agent's step: what was said, and the answers to its calls."""
    written: dict[str, Any] = {"source": "agent", "message": message.content}
    if message.reasoning:
        written["reasoning_content"] = message.reasoning
    if message.tool_calls:
        written["tool_calls"] = [_call(call) for call in message.tool_calls]
    if answers:
        calls = {call.id for call in message.tool_calls}
        named = [{"source_call_id": each.tool_call_id} if each.tool_call_id in calls else {} for each in answers]
        written["observation"] = {
            "results": [{**name, "content": each.content} for name, each in zip(named, answers, strict=True)]
        }
    return written


def _call(call: ToolCall) -> dict[str, Any]:
    written = {"tool_call_id": call.id, "function_name": call.name, "arguments": plain(call)["arguments"]}
    return written | {"extra": {OURS: {"problem": call.problem}}} if call.problem else written


def _metrics(completion: Completion, fed: Fed) -> dict[str, Any]:
    """What is known of a turn's tokens; nothing if nothing is."""
    told: dict[str, Any] = {
        "prompt_tokens": completion.input_tokens,
        "completion_tokens": completion.output_tokens,
        "prompt_token_ids": list(fed.prompt(completion)) if completion.token_ids else [],
        "completion_token_ids": list(completion.token_ids),
        "logprobs": list(completion.logprobs) if all(map(math.isfinite, completion.logprobs)) else [],
    }
    return {key: value for key, value in told.items() if value}


def _model(trajectory: Trajectory, at: int) -> str:
    """Who took the turn `at`: the model's own name, else the policy's if it acts here, else the actor's part."""
    step = trajectory.steps[at]
    first = trajectory.parent.step if trajectory.parent else 0
    owner = trajectory.steps[first].actor if first < len(trajectory.steps) else None
    return step.completion.model or (trajectory.policy if step.actor == owner else "") or step.actor


def _definition(tool: ToolSpec) -> dict[str, Any]:
    return {"type": "function", "function": plain(tool)}


def _fork(trajectory: Trajectory, parent: Fork, world: str) -> dict[str, JsonValue]:
    # Whoever restores checks the world, or raises: where something was done afterwards, it was the right one.
    went_on = len(trajectory.steps) > parent.step or not trajectory.errored
    about: dict[str, JsonValue] = {
        "parent_trajectory_id": parent.trajectory_id,
        "takeover_step": parent.step,
        "restore": {"method": "snapshot", "verified": went_on},
    }
    if parent.step <= len(trajectory.steps) and (kept := trajectory.world(parent.step)) is not None:
        about["snapshot_id"] = kept.world_digest
    elif world:
        about["snapshot_id"] = world
    return about


def _restored(trajectory: Trajectory, parent: Fork, world: str) -> dict[str, Any]:
    """The step that says so. It has no message: some readers would put that into the conversation."""
    about = _fork(trajectory, parent, world)
    restore = about["restore"]
    assert isinstance(restore, Mapping)
    told = "the world was restored" if restore["verified"] else "the world was to be restored"
    snapshot = f" (snapshot {about['snapshot_id']})" if "snapshot_id" in about else ""
    content = f"{told} as it was after {parent.step} turns of trajectory {parent.trajectory_id}{snapshot}"
    step: dict[str, Any] = {"source": "system", "message": "", "observation": {"results": [{"content": content}]}}
    return step | {"extra": {OURS: {"restore": restore}}}


def _recovery(record: Recovery) -> dict[str, JsonValue]:
    kept = record.model_copy(update={"others": ()})
    return {key: value for key, value in plain(kept).items() if key not in ("trajectory", "note", "others")}


def _clean(document: dict[str, Any]) -> dict[str, Any]:
    """The document as JSON has it, without secrets and half characters."""
    text = whole(json.dumps(document, ensure_ascii=False))
    clean = redact_json(text)
    found: dict[str, Any] = json.loads(clean)
    if clean is not text:
        try:
            read_atif(found)
        except UsageError as error:
            raise UsageError(
                "a secret in the environment is a word that trajectories are made of: change it"
            ) from error
    return found


@cache
def _version() -> str:
    return version("agentdistill")
