"""From ATIF documents, ours and other people's, to trajectories."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

from pydantic import JsonValue, TypeAdapter, ValidationError

from agentdistill.errors import UsageError
from agentdistill.formats.atif.conversation import Fed, context_of, filled, outline_of, turn_of
from agentdistill.formats.atif.schema import OURS, AtifStep, document_of, first_problem
from agentdistill.records import Fork, Message, Step, ToolSpec, Trajectory, digest_of

_TOLD = ("parent_trajectory_id", "takeover_step", "snapshot_id", "restore", "reward", "recovery")
"""What a document of ours tells its readers, and a trajectory has elsewhere or not at all."""
_MESSAGES = TypeAdapter(list[Message])


def read_atif(document: object, name: str = "document") -> Trajectory:
    """An ATIF document of version 1.0 to 1.8, as parsed JSON, as a trajectory.

    One that `write_atif` wrote comes back as it was. Of others, what is known is taken: the conversation, the calls,
    the tools, token ids where those of the prompts are there too. Agents' steps are the student's turns; those that
    are copied context, or that no model made (`llm_call_count` 0), are messages that were there already, and nothing
    is learnt from them. No verdict is known, so that it counts as paused: neither a success nor a failure. Its id is
    the document's `trajectory_id`, or made of the session's and a digest of the document. Timestamps, prices, notes
    and `extra` of others are not kept; what stands under `extra.agentdistill`, a verdict too, is its writer's word.
    Subagents' trajectories are documents by themselves: read them one by one.

    Args:
        document: the JSON object.
        name: what it is called in error messages, such as its file and line.

    Raises:
        UsageError: it is no ATIF document of a known version, or holds images or sound; one line names the key.
    """
    read = document_of(document, name)
    opening: list[Message] = []
    steps: list[Step] = []
    fed = Fed()
    for at, step in enumerate(read.steps):
        key = ("steps", str(at), "extra", OURS)
        ours = _ours(step.extra, name, key)
        if "restore" in ours:
            continue
        if not _is_turn(step, ours):
            said = _exactly(ours["messages"], name, key) if "messages" in ours else context_of(step)
            if steps:
                steps[-1] = steps[-1].model_copy(update={"observations": (*steps[-1].observations, *said)})
            else:
                opening += said
            continue
        known = turn_of(step, fed, read.agent.model_name or "")
        steps.append(filled(known, ours, name, key))
        fed.add(steps[-1].completion)
    ours = _ours(read.extra, name, ("extra", OURS))
    identity = read.trajectory_id
    if identity is None:  # sessions have several documents
        identity = f"{read.session_id or read.agent.name}-{digest_of(cast('dict[str, JsonValue]', document))[:12]}"
    outline = outline_of(
        identity,
        read.agent.model_name or read.agent.name,
        _parent(ours, name),
        opening,
        [
            _tool_of(tool, f"{name}: agent.tool_definitions.{at}")
            for at, tool in enumerate(read.agent.tool_definitions or ())
        ],
        steps,
    )
    rest = {field: value for field, value in ours.items() if field not in _TOLD}
    return filled(outline, rest, name, ("extra", OURS))


def load_atif(path: Path) -> Iterator[Trajectory]:
    """The trajectories of a file: one document (``.json``), or one on each line (``.jsonl``).

    Raises:
        UsageError: the file cannot be read, or a document is none; see `read_atif`.
    """
    if path.suffix != ".jsonl":
        text = "".join(line for _, line in _lines(path))
        yield read_atif(_parsed(text, str(path)), str(path))
        return
    for number, line in _lines(path):
        if line.strip():
            name = f"{path}:{number}"
            yield read_atif(_parsed(line, name), name)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from enumerate(file, 1)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


def _parsed(text: str, name: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is not JSON: {str(error)[:100]}") from error


def _is_turn(step: AtifStep, ours: Mapping[str, JsonValue]) -> bool:
    """Whether a model took this turn here; in documents of ours, each that anybody took says whose it was."""
    if step.source != "agent":
        return False
    return "actor" in ours or not (step.is_copied_context or step.llm_call_count == 0 or "messages" in ours)


def _ours(extra: Mapping[str, JsonValue] | None, name: str, key: Sequence[str]) -> Mapping[str, JsonValue]:
    ours = (extra or {}).get(OURS, {})
    if not isinstance(ours, dict):
        raise UsageError(f"{name}: {'.'.join(key)}: should be an object")
    return ours


def _exactly(messages: JsonValue, name: str, key: Sequence[str]) -> list[Message]:
    try:
        return _MESSAGES.validate_python(messages)
    except ValidationError as error:
        raise UsageError(f"{name}: {first_problem(error, Message.model_fields, (*key, 'messages'))}") from error


def _parent(ours: Mapping[str, JsonValue], name: str) -> Fork | None:
    if "parent_trajectory_id" not in ours:
        return None
    of, step = ours["parent_trajectory_id"], ours.get("takeover_step")
    if not isinstance(of, str) or not isinstance(step, int) or isinstance(step, bool) or step < 0:
        keys = f"extra.{OURS}.parent_trajectory_id and takeover_step"
        raise UsageError(f"{name}: {keys} should be the id of a trajectory and how many of its turns were kept")
    return Fork(trajectory_id=of, step=step)


def _tool_of(definition: Mapping[str, JsonValue], name: str) -> ToolSpec:
    """A tool from its definition: OpenAI's, the function in it alone, or Anthropic's."""
    function = definition.get("function", definition)
    told = function if isinstance(function, dict) else {}
    described, parameters = told.get("description"), told.get("parameters", told.get("input_schema"))
    if not isinstance(told.get("name"), str):
        raise UsageError(f'{name}: should be {{"type": "function", "function": {{"name": ..., "parameters": ...}}}}')
    return ToolSpec(
        name=str(told["name"]),
        description=described if isinstance(described, str) else "",
        parameters=parameters if isinstance(parameters, dict) else {},
    )
