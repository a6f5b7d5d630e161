"""The records every stage leaves behind: frozen, JSON round-trip, unknown keys refused.

One `Trajectory` is state, log and data set alike: each `Step` says who acted, what they said (with the
token ids they sampled, where known), what the world answered, and under which snapshot the world
can be found again. A takeover is a trajectory too: the student's steps up to the point of divergence,
then the teacher's.
"""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

Role = Literal["system", "user", "assistant", "tool"]
Actor = Literal["student", "teacher"]
Ending = Literal["submitted", "step_limit", "context_limit", "paused", "infrastructure_error"]
Place = Literal["after", "before"]
OutcomeStatus = Literal["ok", "malformed", "unknown_tool", "bad_argument", "failed", "timeout"]


class Record(BaseModel):
    """Base of all records: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class ToolCall(Record):
    """One call a model made. A call that could not be read carries its `problem` and is never run."""

    id: str
    name: str
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    problem: str = ""


class Message(Record):
    """One message of a conversation, in the chat-completions vocabulary.

    `reasoning` is what a model thought before it answered, where its format tells that apart from the answer.
    """

    role: Role
    content: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None


class ToolSpec(Record):
    """What a model is told about a tool; `parameters` is a JSON schema object."""

    name: str
    description: str
    parameters: dict[str, JsonValue]


class Task(Record):
    """One thing to do in one environment. `data` is the environment's own and may hold the truth."""

    id: str
    environment: str
    instruction: str
    data: dict[str, JsonValue] = Field(default_factory=dict)
    split: str = "train"

    @property
    def content_hash(self) -> str:
        """SHA-256 over what is to be done (not over its id or split), as 64 hex digits."""
        return digest_of([self.environment, self.instruction, self.data])


class Completion(Record):
    """One answer of a policy.

    `token_ids` are the ids it sampled, the stop token included (empty where unknown), and `context_ids` the ids it was
    fed between its previous turn and this one: all of them in order are exactly what the model saw. Where `fresh` is
    true, the chat template had rewritten earlier turns, and `context_ids` are the whole prompt instead. `logprobs` are
    natural logarithms under the distribution sampled from, one per id. `finish` is `stop`, `length` (cut by the token
    limit) or `context` (the prompt no longer fits: nothing was sampled). `inferred` is true where the ids were not told
    by who sampled them, but found again from the text. `by` says which of the two spoke, where a policy is a mixture of
    both; `mistaken` is true where whoever spoke erred on purpose: such a turn is never trained on.
    """

    message: Message
    token_ids: tuple[int, ...] = ()
    context_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    input_tokens: int = 0
    output_tokens: int = 0
    finish: Literal["stop", "length", "context"] = "stop"
    model: str = ""
    inferred: bool = False
    fresh: bool = False
    by: Actor | None = None
    mistaken: bool = False


class ToolOutcome(Record):
    """How one call went, told apart for detectors. `text` is the observation's first line when it failed."""

    call_id: str
    tool: str
    status: OutcomeStatus
    text: str = ""


class Snapshot(Record):
    """A world, exactly: the environment's state, its sandbox, its random state and its step clock."""

    state: JsonValue = None
    sandbox: str | None = None
    rng: JsonValue = None
    steps_taken: int = 0
    ended: bool = False

    @property
    def world_digest(self) -> str:
        """Equal for two snapshots exactly when state and sandbox are equal; time and luck left out."""
        return digest_of([self.state, self.sandbox])


class Verdict(Record):
    """What the hidden check said. `score` lies in [0, 1]."""

    passed: bool
    score: float
    detail: str = ""


class Step(Record):
    """One turn: who acted, what they said, what came back, and the world after it."""

    actor: Actor
    completion: Completion
    observations: tuple[Message, ...]
    outcomes: tuple[ToolOutcome, ...] = ()
    signals: dict[str, JsonValue] = Field(default_factory=dict)
    reward: float = 0.0
    snapshot: Snapshot | None = None


class Fork(Record):
    """Where a trajectory left another one: after `step` steps of `trajectory_id`."""

    trajectory_id: str
    step: int


class Trajectory(Record):
    """One episode, whole. `start` is the world after reset, `opening` the messages that reset gave.

    One that is `paused` was stopped on purpose before its end: nothing has been verified, and it can be gone on with.
    """

    id: str
    task: Task
    policy: str
    seed: int
    opening: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    start: Snapshot | None = None
    steps: tuple[Step, ...] = ()
    ending: Ending
    verdict: Verdict | None = None
    error: str = ""
    parent: Fork | None = None

    @property
    def succeeded(self) -> bool:
        """True if the verdict is there and passed."""
        return self.verdict is not None and self.verdict.passed

    @property
    def errored(self) -> bool:
        """True if the machinery broke: neither a success nor a failure."""
        return self.ending == "infrastructure_error"

    @property
    def failed(self) -> bool:
        """True if the policy had its chance and the verdict went against it."""
        return not self.errored and not self.paused and not self.succeeded

    @property
    def paused(self) -> bool:
        """True if it was stopped on purpose before its end: neither a success nor a failure."""
        return self.ending == "paused"

    def messages(self, steps: int | None = None) -> tuple[Message, ...]:
        """The conversation after `steps` steps (all of them by default)."""
        said: list[Message] = list(self.opening)
        for step in self.steps if steps is None else self.steps[:steps]:
            said.append(step.completion.message)
            said.extend(step.observations)
        return tuple(said)

    def world(self, steps: int) -> Snapshot | None:
        """The snapshot after `steps` steps; 0 is the world after reset."""
        return self.start if steps == 0 else self.steps[steps - 1].snapshot

    def tokens(self, actor: Actor) -> int:
        """Output tokens of `actor` in this trajectory, a copied prefix not counted."""
        first = self.parent.step if self.parent else 0
        return sum(s.completion.output_tokens for s in self.steps[first:] if s.actor == actor)


class Divergence(Record):
    """Where a trajectory went wrong: after `step` steps (1-based), the mistake is in the world.

    `confidence` lies in [0, 1]; `evidence` quotes what the detector saw.
    """

    trajectory_id: str
    step: int
    reason: str
    detector: str
    evidence: str = ""
    confidence: float = 1.0


class Cost(Record):
    """What something cost: questions put to the teacher, the tokens it read and wrote (those it only scored count as
    written), and the tokens students wrote.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    student_tokens: int = 0

    def __add__(self, other: Cost) -> Cost:
        """Both together."""
        return Cost(
            calls=self.calls + other.calls,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            student_tokens=self.student_tokens + other.student_tokens,
        )


class Recovery(Record):
    """A takeover and whether it climbed out.

    `trajectory` is the student's prefix, then the teacher's steps, then the student's again where it was handed back.
    `teacher_tokens` counts all that was paid for it: attempts that failed too. The teacher began `depth` steps before
    the point of divergence (0: right there, `place` says on which side of the mistake). `flipped` tells whether the
    student, going on from the teacher's first step, succeeded; `None` if that was not tried. `note` is what the teacher
    alone was told and `critique` what it said was wrong: neither is part of the conversation. `student_tokens` is what
    the student wrote after hand-backs and to find out about the flip. `others` are the attempts that were not kept, in
    the order they were begun in: each leaves the same failure, from where it was tried.
    """

    divergence: Divergence
    trajectory: Trajectory
    teacher_tokens: int
    place: Place = "after"
    depth: int = 0
    attempt: int = 0
    flipped: bool | None = None
    note: str = ""
    critique: str = ""
    student_tokens: int = 0
    others: tuple[Trajectory, ...] = ()

    @property
    def verified(self) -> bool:
        """True if the hidden check passed at the end of the trajectory."""
        return self.trajectory.succeeded


class Segment(Record):
    """One training row: token ids of the whole context, and the mask that says which of them carry loss.

    `weights`, `logprobs` (natural, under the distribution the token was sampled from), `teacher_logprobs`,
    `by_teacher` (whose turn the token belongs to) and `teacher_top` (the teacher's likeliest tokens at each place, with
    their natural log-probabilities, as many at every token that carries loss) are empty or have one entry per id; those
    of tokens without loss mean nothing.
    """

    id: str
    kind: Literal["clean", "recovery", "label", "choice", "own"]
    trajectory_id: str
    input_ids: tuple[int, ...]
    loss_mask: tuple[bool, ...]
    tokens: Literal["exact", "inferred"] = "exact"
    weights: tuple[float, ...] = ()
    logprobs: tuple[float, ...] = ()
    teacher_logprobs: tuple[float, ...] = ()
    by_teacher: tuple[bool, ...] = ()
    teacher_top: tuple[tuple[tuple[int, float], ...], ...] = ()

    @property
    def supervised(self) -> int:
        """How many tokens carry loss."""
        return sum(self.loss_mask)


class PreferencePair(Record):
    """Two ways to go on from one state of one trajectory, of which `chosen` is the better one.

    Both segments begin with the same ids; the loss masks cover what differs.
    """

    id: str
    trajectory_id: str
    step: int
    chosen: Segment
    rejected: Segment
    source: Literal["takeover", "choice"]


def digest_of(value: JsonValue | list[JsonValue]) -> str:
    """SHA-256 of the canonical JSON of `value`, as 64 hex digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def derive_seed(*parts: str | int) -> int:
    """A 63-bit seed that depends on every part and on nothing else (not on the process or the order of work)."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
