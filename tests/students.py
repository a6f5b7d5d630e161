"""Tiny real students for the tests of the core: made and trained in seconds, once in a process."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, cast

from agentdistill_environments.depot import Depot
from agentdistill_environments.repair import Repair
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from agentdistill.chat import Renderer
from agentdistill.divergence import Detector, FirstToolError, Probes
from agentdistill.environment import ToolEnvironment
from agentdistill.policies import Policy
from agentdistill.policies.local import LocalPolicy, Sampling
from agentdistill.policies.scripted import ScriptedTeacher
from agentdistill.policies.tiny import TinyConfig, make_student, make_tokenizer
from agentdistill.records import Divergence, Message, Segment, Task, ToolCall, Trajectory
from agentdistill.rollout import EpisodeSpec, Rollout
from agentdistill.segments import segments_of
from agentdistill.training import Pool, TrainingConfig, train

SMALL = TinyConfig(vocabulary=500, hidden=32, layers=2, heads=2, context=640)


def call(name: str, **arguments: Any) -> Message:
    """An assistant turn with one call."""
    return Message(role="assistant", tool_calls=(ToolCall(id="call_0_0", name=name, arguments=arguments),))


def spoiling_edit(task: Task) -> Message:
    """On Repair: an edit of the open module that goes through and breaks it."""
    head = f"def {task.data['function']}("
    text = str(task.data["files"][str(task.data["path"])])  # type: ignore[index, call-overload]
    arguments: dict[str, Any] = {"old": head, "new": "def renamed("}
    (edit,) = (spec for spec in Repair().tools if spec.name == "edit")
    if "line" in edit.parameters["properties"]:  # type: ignore[operator]
        arguments["line"] = next(number for number, line in enumerate(text.split("\n"), 1) if head in line)
    return call("edit", **arguments)


def run_all(rollout: Rollout, specs: Sequence[EpisodeSpec]) -> list[Trajectory]:
    """The trajectories in the order of their specs."""
    done = {trajectory.id: trajectory for trajectory in rollout.run(specs)}
    return [done[spec.id] for spec in specs]


def specs_of(tasks: Sequence[Task], **settings: Any) -> list[EpisodeSpec]:
    """One episode for each task, each with a seed of its own."""
    return [EpisodeSpec(task, seed=number, **settings) for number, task in enumerate(tasks)]


def play(make: Callable[[], ToolEnvironment], policy: Policy, count: int = 6, **settings: Any) -> list[Trajectory]:
    """Episodes of `policy` on the first training tasks."""
    tasks = make().make_tasks("train", count)
    return run_all(Rollout(make, policy, workers=1, **settings), specs_of(tasks))


@cache
def clean_traces(count: int = 24) -> tuple[Trajectory, ...]:
    """What a knowing teacher does on Depot."""
    rollout = Rollout(Depot, ScriptedTeacher("knowing"), workers=1, keep_snapshots=False)
    return tuple(run_all(rollout, specs_of(Depot().make_tasks("train", count), actor="teacher")))


def texts_of(traces: Sequence[Trajectory]) -> list[str]:
    """Messages and calls as plain text, for a tokenizer to learn from."""
    messages = [message for trace in traces for message in trace.messages()]
    calls = [each for message in messages for each in message.tool_calls]
    said = [f'{{"name": "{each.name}", "arguments": {json.dumps(each.arguments)}}}' for each in calls]
    return [message.content for message in messages] + said


@cache
def depot_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer that knows the words of Depot."""
    return make_tokenizer(texts_of(clean_traces()), SMALL)


def untrained(seed: int = 0, config: TinyConfig = SMALL) -> LlamaForCausalLM:
    """A student that knows nothing."""
    return make_student(depot_tokenizer(), config, seed)


@cache
def clean_segments() -> tuple[Segment, ...]:
    """The clean traces as training rows."""
    rows, _ = segments_of(clean_traces(), Renderer(depot_tokenizer()), SMALL.context)
    return tuple(rows)


@cache
def _schooled(steps: int) -> LlamaForCausalLM:
    model = untrained()
    config = TrainingConfig(steps=steps, tokens_per_step=300, learning_rate=1e-2)
    train(model, [Pool(clean_segments(), 1.0)], config, seed=0)
    return model


def depot_student(sampling: Sampling | None = None, steps: int = 90) -> LocalPolicy:
    """A half-trained student: it makes real calls, and mistakes of every kind."""
    return LocalPolicy(copy.deepcopy(_schooled(steps)), depot_tokenizer(), sampling or Sampling())


NO_PROBES = cast("Probes", None)
"""For detectors that only look: they must not touch it."""


def diverging(
    trajectories: Sequence[Trajectory], detector: Detector | None = None
) -> list[tuple[Trajectory, Divergence]]:
    """The failed ones in which a divergence is found."""
    find = detector or FirstToolError()
    return [(each, found) for each in trajectories if each.failed and (found := find(each, NO_PROBES)) is not None]
