"""A tool environment: an author writes tools, `setup` and `verify`; acting, budgets and snapshots are here.

The smallest one::

    class Counter(ToolEnvironment):
        state: dict[str, int]

        def make_task(self, rng):
            return Task(id="", environment="counter", instruction="Count to 3.", data={"goal": 3})

        def setup(self, task):
            self.state = {"n": 0}

        @tool
        def add(self, amount: int) -> str:
            '''Add to the counter.'''
            self.state["n"] += amount
            return str(self.state["n"])

        def verify(self):
            return Verdict(passed=self.state["n"] == self.task.data["goal"], score=float(...))

All that changes lives in `self.state` (JSON-able: a dict, a dataclass, a pydantic model; declare its type as a class
annotation) and in `self.sandbox` (set `uses_sandbox = True`), so snapshot and restore need nothing from the author.
"""

from __future__ import annotations

import inspect
import json
import typing
from typing import Any, ClassVar, SupportsFloat, cast

import gymnasium
import numpy as np
from pydantic import JsonValue, TypeAdapter

from agentdistill.errors import SnapshotError, TaskError, UsageError
from agentdistill.records import (
    Message,
    OutcomeStatus,
    Record,
    Snapshot,
    Task,
    ToolCall,
    ToolOutcome,
    ToolSpec,
    Verdict,
    derive_seed,
)
from agentdistill.sandbox import Sandbox, SandboxBackend
from agentdistill.spaces import MessageSpace, MessagesSpace
from agentdistill.tools import Tool, tools_of


class Truth(Record):
    """What the environment knows about a state, for tests and tables only.

    `cost` is the least number of steps in which the state can still be won, `None` if it cannot be won at all, the
    remaining budget left out of account.
    """

    cost: int | None

    def winnable(self, remaining: int) -> bool:
        """True if the state can be won within `remaining` steps."""
        return self.cost is not None and self.cost <= remaining


class ToolEnvironment(gymnasium.Env[tuple[Message, ...], Message]):
    """Base of all environments; see the module's docstring for what an author writes.

    Attributes:
        task: the task of this episode.
        state: whatever changes, in one JSON-able value.
        sandbox: the world commands run in, if `uses_sandbox`; fresh and empty when `setup` is called.
        step_limit: turns an episode may take; past them it is truncated.
        np_random: the only source of luck. It is part of a snapshot.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}
    uses_sandbox: ClassVar[bool] = False
    step_limit: int = 30
    state: Any
    _tools: ClassVar[dict[str, Tool]] = {}
    _state_type: ClassVar[TypeAdapter[Any] | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._tools = tools_of(cls)
        cls._state_type = None

    def __init__(self, *, sandboxes: SandboxBackend | None = None, render_mode: str | None = None) -> None:
        """`sandboxes` is where sandboxes come from; without it, one of the default backend is made on demand."""
        self.render_mode = render_mode
        self._backend = sandboxes
        self._owns_backend = sandboxes is None
        self.sandbox: Sandbox | None = None
        self._sandbox_is_of: SandboxBackend | None = None
        self.tools: tuple[ToolSpec, ...] = tuple(each.spec for each in self._tools.values())
        self.action_space = MessageSpace(self.tools)
        self.observation_space = MessagesSpace()
        self.task: Task = Task(id="", environment="", instruction="")
        self.steps_taken = 0
        self._ended = False
        self._signals: dict[str, JsonValue] = {}
        self._last: tuple[Message, ...] = ()

    # ---- what an author writes -----------------------------------------------------------------------------------

    def make_task(self, rng: np.random.Generator) -> Task:
        """A task drawn with `rng`, for `reset` without one.

        Raises:
            UsageError: this environment only runs tasks it is given.
        """
        raise UsageError(f"{type(self).__name__} makes no tasks: pass one as options={{'task': task}}")

    def make_tasks(self, split: str, count: int, seed: int = 0, first: int = 0) -> list[Task]:
        """Tasks `first` .. ``first + count - 1`` of a split, ``train`` or ``heldout``, of the stream `seed`.

        Each is drawn from a seed of its own, so that the i-th does not depend on how many are drawn. Override it where
        held-out tasks must differ in kind; here they differ in luck only.
        """
        seeds = [task_seed(f"{type(self).__name__}-{seed}", split, index) for index in range(first, first + count)]
        drawn = [self.make_task(np.random.default_rng(each)) for each in seeds]
        return [
            task.model_copy(update={"id": f"{task.environment}-{split}-{seed}-{first + index}", "split": split})
            for index, task in enumerate(drawn)
        ]

    def setup(self, task: Task) -> None:
        """Put `self.state` and `self.sandbox` where the task starts.

        Raises:
            TaskError: the task does not fit this environment.
        """
        raise NotImplementedError(f"{type(self).__name__} must define setup()")

    def verify(self) -> Verdict:
        """Judge the work, by something the agent could neither see nor write.

        Raises:
            VerifierError: the judging itself broke.
        """
        raise NotImplementedError(f"{type(self).__name__} must define verify()")

    def backend_for(self, task: Task) -> SandboxBackend:
        """Where the sandboxes of a task come from: `backend`, unless overridden where tasks have worlds of their own.

        Snapshots are shared by `backend` and all that it makes (see `agentdistill.sandbox.worlds`).

        Raises:
            TaskError: the backend has no sandboxes for this task.
        """
        return self.backend

    def opening(self, task: Task) -> tuple[Message, ...]:
        """The first messages of an episode: the instruction as one user message, unless overridden."""
        return (Message(role="user", content=task.instruction),)

    def truth(self) -> Truth | None:
        """What is true of the state now; `None` where the environment does not know."""
        return None

    def progress(self) -> float | None:
        """How far the work is by the environment's own reckoning, higher is better; `None` where it has none.

        It may know more than the agent: a detector that reads it counts as an oracle.
        """
        return None

    def equivalent(self, one: Message, other: Message) -> bool:
        """Whether two turns taken here and now come to the same: by default, if they make the same calls."""
        return [(call.name, call.arguments) for call in one.tool_calls] == [
            (call.name, call.arguments) for call in other.tool_calls
        ] and not any(call.problem for call in (*one.tool_calls, *other.tool_calls))

    def reference(self) -> str:
        """How the present task can be solved, in words: only ever told a teacher in private. Empty where unknown."""
        return ""

    def end(self) -> None:
        """Call it in a tool to end the episode (a submit, or an accident that cannot be undone)."""
        self._ended = True

    def signal(self, **values: JsonValue) -> None:
        """Call it in a tool to leave numbers for detectors beside the observation, such as ``tests_failed=2``."""
        self._signals.update(values)

    # ---- acting --------------------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[Message, ...], dict[str, Any]]:
        """Start an episode of ``options["task"]``, or of a task drawn with the seed.

        Raises:
            TaskError: the task does not fit this environment.
            SandboxError: no sandbox could be had.
        """
        super().reset(seed=seed)
        task = (options or {}).get("task")
        if task is None:
            task = self.make_task(self.np_random)
        self._begin(task)
        self.setup(task)
        self._last = self.opening(task)
        return self._last, {"task_id": task.id}

    def step(self, action: Message) -> tuple[tuple[Message, ...], SupportsFloat, bool, bool, dict[str, Any]]:
        """Run the calls of one assistant message in order; one tool message answers each.

        `info` has `outcomes` (a `ToolOutcome` per call), `signals`, and at the end of the episode `verdict`. The
        reward is the verdict's score at the end and 0 before.

        Raises:
            UsageError: the episode has ended.
            InfrastructureError: the machinery broke; the episode is void.
        """
        if self.over:
            raise UsageError("the episode is over: call reset() first")
        self._signals = {}
        observations: list[Message] = []
        outcomes: list[ToolOutcome] = []
        for call in action.tool_calls:
            status, text = self._run(call)
            observations.append(Message(role="tool", content=text, tool_call_id=call.id, name=call.name))
            outcomes.append(_outcome(call, status, text))
        if not action.tool_calls:
            text = "error: no tool call found: answer with a call of one of the tools"
            observations.append(Message(role="user", content=text))
            outcomes.append(ToolOutcome(call_id="", tool="", status="malformed", text=text))
        self.steps_taken += 1
        info: dict[str, Any] = {"outcomes": tuple(outcomes), "signals": dict(self._signals)}
        reward = 0.0
        if self.over:
            info["verdict"] = verdict = self.verify()
            reward = verdict.score
        self._last = tuple(observations)
        truncated = not self._ended and self.steps_taken >= self.step_limit
        return self._last, reward, self._ended, truncated, info

    def render(self) -> Any:
        """The last messages as plain text (`render_mode="ansi"`)."""
        return "\n".join(f"[{message.role}] {message.content}" for message in self._last)

    def close(self) -> None:
        """Close the sandbox, and the backend if this environment made it."""
        if self.sandbox is not None:
            self.sandbox.close()
            self.sandbox = None
        if self._owns_backend and self._backend is not None:
            self._backend.close()
            self._backend = None

    # ---- going back ----------------------------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """True if the episode has ended or its steps are used up."""
        return self._ended or self.steps_taken >= self.step_limit

    @property
    def remaining(self) -> int:
        """Steps that are left."""
        return max(0, self.step_limit - self.steps_taken)

    def snapshot(self, owner: str = "") -> Snapshot:
        """The world as it is now: state, sandbox, luck and clock.

        Args:
            owner: for whom the sandbox's part is kept, until `release`; without one it stays.

        Raises:
            SandboxError: the sandbox could not be kept.
        """
        return Snapshot(
            state=self._adapter().dump_python(self.state, mode="json"),
            sandbox=self.sandbox.snapshot(owner) if self.sandbox is not None else None,
            rng=_jsonable(self.np_random.bit_generator.state),
            steps_taken=self.steps_taken,
            ended=self._ended,
        )

    def release(self, owner: str) -> None:
        """Forget what is kept for this owner and for nobody else; it cannot be restored any more."""
        if self._backend is not None:
            self._backend.release(owner)

    def restore(self, snapshot: Snapshot, *, task: Task | None = None, reseed: int | None = None) -> None:
        """Put the world back exactly as it was, luck included.

        Args:
            snapshot: from this environment or another of its class that shares the sandbox backend.
            task: the task the snapshot belongs to; needed unless this environment was reset to it.
            reseed: a fresh seed, so that several attempts from one state do not meet the same luck.

        Raises:
            SnapshotError: the snapshot is not kept any more or does not match its digest.
        """
        if task is not None:
            self.task = task
        if (snapshot.sandbox is not None) != self.uses_sandbox:
            raise SnapshotError(f"this snapshot was not made by a {type(self).__name__}")
        if snapshot.sandbox is not None:
            backend = self.backend_for(self.task)
            if self.sandbox is None or self._sandbox_is_of is not backend:
                self._take_sandbox(backend, snapshot.sandbox)
            else:
                self.sandbox.restore(snapshot.sandbox)
        self.state = self._adapter().validate_python(snapshot.state)
        self.np_random.bit_generator.state = cast("Any", snapshot.rng)
        if reseed is not None:
            self._np_random, self._np_random_seed = gymnasium.utils.seeding.np_random(reseed)
        self.steps_taken = snapshot.steps_taken
        self._ended = snapshot.ended
        self._signals, self._last = {}, ()

    @property
    def backend(self) -> SandboxBackend:
        """Where sandboxes come from; the default backend if none was given.

        Raises:
            SandboxUnavailableError: this machine cannot isolate commands.
        """
        if self._backend is None:
            from agentdistill.sandbox.bubblewrap import BubblewrapBackend

            self._backend = BubblewrapBackend()
        return self._backend

    # ---- inside --------------------------------------------------------------------------------------------------

    @classmethod
    def _adapter(cls) -> TypeAdapter[Any]:
        """Reads and writes `state` as the class annotates it."""
        if cls._state_type is None:
            owner = next(base for base in cls.__mro__ if "state" in inspect.get_annotations(base))
            declared = type("Declared", (), {"__annotations__": {"state": owner.__annotations__["state"]}})
            declared.__module__ = owner.__module__
            cls._state_type = TypeAdapter(typing.get_type_hints(declared)["state"])
        return cls._state_type

    def _begin(self, task: Task) -> None:
        if not isinstance(task, Task):
            raise TaskError(f"options['task'] must be a Task, not {type(task).__name__}")
        self.task = task
        self.steps_taken = 0
        self._ended = False
        self._signals = {}
        if self.uses_sandbox:
            self._take_sandbox(self.backend_for(task), None)

    def _take_sandbox(self, backend: SandboxBackend, snapshot: str | None) -> None:
        if self.sandbox is not None:
            self.sandbox.close()
            self.sandbox = None
        self.sandbox, self._sandbox_is_of = backend.create(snapshot), backend

    def _run(self, call: ToolCall) -> tuple[OutcomeStatus, str]:
        if self._ended:
            return "failed", "error: the episode is over"
        if call.problem:
            return "malformed", f"error: {call.problem}"
        if call.name not in self._tools:
            known = ", ".join(self._tools)
            return "unknown_tool", f"error: there is no tool {call.name!r}; the tools are {known}"
        status, text = self._tools[call.name].call(self, call.arguments)
        if status == "failed" and self._signals.pop("timed_out", False):
            return "timeout", text
        return status, text


def task_seed(environment: str, split: str, index: int) -> int:
    """The seed of the `index`-th task of a split: independent of how many others are drawn."""
    return derive_seed("task", environment, split, index)


def _outcome(call: ToolCall, status: OutcomeStatus, text: str) -> ToolOutcome:
    first = "" if status == "ok" else text.split("\n", 1)[0]
    return ToolOutcome(call_id=call.id, tool=call.name, status=status, text=first)


def _jsonable(value: Any) -> JsonValue:
    return cast("JsonValue", json.loads(json.dumps(value)))
