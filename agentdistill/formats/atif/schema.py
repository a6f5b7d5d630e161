"""The keys of an ATIF document, as Harbor has them, and what is wrong with one that is none, in one line.

One schema reads all versions: later ones only added keys, but for two rules that 1.7 changed (a reference to a subagent
names its document or file; a document may do without `session_id`), of which the looser form is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from agentdistill.chat.values import whole
from agentdistill.errors import UsageError, nearest
from agentdistill.records import Record

VERSIONS = tuple(f"ATIF-v1.{minor}" for minor in range(9))
WRITTEN = "ATIF-v1.7"
OURS = "agentdistill"
"""The key of `extra` under which stands what ATIF's own keys cannot say."""
_DEEPEST = 200  # where JSON readers give up
_LONGEST = 60
_AGENTS_ONLY = ("model_name", "reasoning_effort", "reasoning_content", "tool_calls", "metrics")
_MODELS_ONLY = ("metrics", "reasoning_content")


def _problem(text: str) -> PydanticCustomError:
    return PydanticCustomError("atif", "{text}", {"text": text})


def _text(value: object) -> object:
    """The text of a message, which from 1.6 on may be a list of parts."""
    if not isinstance(value, list):
        return value
    for at, part in enumerate(value):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("image", "audio"):
            raise _problem(f"part {at} is {kind}, and a trajectory here holds text only: leave this document out")
        if kind != "text" or not isinstance(part.get("text"), str):
            raise _problem(f'part {at} should be {{"type": "text", "text": "..."}}')
    return "".join(part["text"] for part in value)


def _time(value: str) -> str:
    try:
        datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError as error:
        raise _problem("should be a time in ISO 8601") from error
    return value


Text = Annotated[str, BeforeValidator(_text)]
Time = Annotated[str, AfterValidator(_time)]
Extra = dict[str, JsonValue]


class AtifAgent(Record):
    """Who acted, and with which tools."""

    name: str
    version: str
    model_name: str | None = None
    tool_definitions: list[dict[str, JsonValue]] | None = None
    extra: Extra | None = None


class AtifCall(Record):
    """A tool call."""

    tool_call_id: str
    function_name: str
    arguments: dict[str, JsonValue]
    extra: Extra | None = None


class AtifReference(Record):
    """Where a subagent's trajectory is."""

    trajectory_id: str | None = None
    session_id: str | None = None
    trajectory_path: str | None = None
    extra: Extra | None = None


class AtifResult(Record):
    """What came back from one call, or from none."""

    source_call_id: str | None = None
    content: Text | None = None
    subagent_trajectory_ref: list[AtifReference] | None = None
    extra: Extra | None = None


class AtifObservation(Record):
    """What came back."""

    results: list[AtifResult]


class AtifMetrics(Record):
    """Tokens of one turn. `prompt_token_ids` is all that the model was fed, earlier turns included."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    cost_usd: float | None = None
    prompt_token_ids: list[int] | None = None
    completion_token_ids: list[int] | None = None
    logprobs: list[float] | None = None
    extra: Extra | None = None


class AtifStep(Record):
    """A message and, if an agent's, its calls and what came back."""

    step_id: int
    timestamp: Time | None = None
    source: Literal["system", "user", "agent"]
    model_name: str | None = None
    reasoning_effort: str | float | None = None
    message: Text
    reasoning_content: str | None = None
    tool_calls: list[AtifCall] | None = None
    observation: AtifObservation | None = None
    metrics: AtifMetrics | None = None
    is_copied_context: bool | None = None
    llm_call_count: int | None = Field(default=None, ge=0)
    extra: Extra | None = None

    @property
    def results(self) -> Sequence[AtifResult]:
        """What came back; nothing where there is no observation."""
        return self.observation.results if self.observation else ()

    @model_validator(mode="after")
    def _fits_its_source(self) -> AtifStep:
        for key in _AGENTS_ONLY:
            if self.source != "agent" and getattr(self, key) is not None:
                raise _problem(f"{key!r} is for steps of the agent, and this one is the {self.source}'s")
        for key in _MODELS_ONLY:
            if self.source == "agent" and self.llm_call_count == 0 and getattr(self, key) is not None:
                raise _problem(f"{key!r} is for steps that a model made, and 'llm_call_count' is 0")
        calls = {call.tool_call_id for call in self.tool_calls or ()}
        for at, result in enumerate(self.results):
            if result.source_call_id is not None and result.source_call_id not in calls:
                told = _short(result.source_call_id)
                raise _problem(f"'observation.results.{at}.source_call_id' {told} names no call of this step")
        return self


class AtifTotals(Record):
    """Sums over the trajectory."""

    total_prompt_tokens: int | None = None
    total_completion_tokens: int | None = None
    total_cached_tokens: int | None = None
    total_cost_usd: float | None = None
    total_steps: int | None = Field(default=None, ge=0)
    extra: Extra | None = None


class AtifDocument(Record):
    """A trajectory, whole."""

    schema_version: str
    session_id: str | None = None
    trajectory_id: str | None = None
    agent: AtifAgent
    steps: list[AtifStep] = Field(min_length=1)
    notes: str | None = None
    final_metrics: AtifTotals | None = None
    continued_trajectory_ref: str | None = None
    subagent_trajectories: list[AtifDocument] | None = None
    extra: Extra | None = None

    @model_validator(mode="after")
    def _is_numbered(self) -> AtifDocument:
        if self.schema_version not in VERSIONS:
            raise _problem(f"'schema_version' {_short(self.schema_version)} is not known; {_KNOWN}")
        for at, step in enumerate(self.steps):
            if step.step_id != at + 1:
                raise _problem(f"'steps.{at}.step_id' should be {at + 1}, not {step.step_id}: steps count from 1")
        embedded: set[str] = set()
        for at, each in enumerate(self.subagent_trajectories or ()):
            if each.trajectory_id is None or each.trajectory_id in embedded:
                raise _problem(f"'subagent_trajectories.{at}.trajectory_id' should be there, and the only one so named")
            embedded.add(each.trajectory_id)
        return self


_KINDS = (
    AtifDocument,
    AtifAgent,
    AtifStep,
    AtifCall,
    AtifObservation,
    AtifResult,
    AtifReference,
    AtifMetrics,
    AtifTotals,
)
_KEYS = {key for kind in _KINDS for key in kind.model_fields}
_KNOWN = f"this reads {VERSIONS[0]} to {VERSIONS[-1]}"


def document_of(value: object, name: str) -> AtifDocument:
    """A JSON value as an ATIF document; half characters, which UTF-8 cannot hold, become U+FFFD.

    Raises:
        UsageError: it is none; one line names `name`, the key and what should stand there.
    """
    if not isinstance(value, dict):
        raise UsageError(f"{name}: an ATIF document is a JSON object, not {_short(value)}")
    version = value.get("schema_version")
    if version not in VERSIONS:  # before all else: one of another version may have other keys
        told = "is missing" if version is None else f"is {_short(version)}, which is not known"
        raise UsageError(f"{name}: 'schema_version' {told}; {_KNOWN}")
    try:
        return AtifDocument.model_validate(_storable(value, name, ()))
    except ValidationError as error:
        raise UsageError(f"{name}: {first_problem(error, _KEYS)}") from error


def first_problem(error: ValidationError, keys: Iterable[str], above: Sequence[str] = ()) -> str:
    """What is wrong first, in one line, under its dotted key.

    Args:
        error: what a model of this schema, or a record, said.
        keys: the known ones, of which the nearest is told where a key is unknown.
        above: leads to where the value stands that was validated.
    """
    found = error.errors(include_url=False)[0]
    where = ".".join([*above, *map(str, found["loc"])])
    if found["type"] == "missing":
        return f"the key {where!r} is missing"
    if found["type"] == "extra_forbidden":
        return f"there is no key {where!r}.{nearest(str(found['loc'][-1]), keys)}"
    if found["type"] == "atif":
        return f"{where}: {found['msg']}" if where else found["msg"]
    return f"{where}: {found['msg'][:1].lower()}{found['msg'][1:]}, not {_short(found['input'])}"


def _short(value: object) -> str:
    kinds = {dict: "an object", list: "a list", type(None): "null"}
    return kinds.get(type(value)) or (text if len(text := repr(value)) <= _LONGEST else text[:_LONGEST] + "...")


def _storable(value: object, name: str, path: tuple[str | int, ...]) -> JsonValue:
    """The value, if it can be written as JSON and read back."""
    if isinstance(value, str):
        return whole(value)
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if len(path) < _DEEPEST:
        if isinstance(value, list | tuple):
            return [_storable(each, name, (*path, at)) for at, each in enumerate(value)]
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {whole(key): _storable(each, name, (*path, key)) for key, each in value.items()}
    where = ".".join(map(str, path[:8]))
    problem = "is nested too deep" if isinstance(value, dict | list | tuple) else f"{_short(value)} is no JSON value"
    raise UsageError(f"{name}: {where}: {problem}")
