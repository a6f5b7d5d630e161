"""ATIF documents as others write them, and every way in which one can be broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

VERSIONS = [f"ATIF-v1.{minor}" for minor in range(9)]

Spoil = Callable[[dict[str, Any]], Any]


def foreign(**changed: Any) -> dict[str, Any]:
    """A document with most keys, without those whose change is `None`."""
    tool = {"name": "run", "description": "Run it.", "parameters": {"type": "object"}}
    document: dict[str, Any] = {
        "schema_version": "ATIF-v1.6",
        "session_id": "run-1",
        "trajectory_id": "document-1",
        "agent": {
            "name": "someone",
            "version": "2.0",
            "model_name": "big",
            "tool_definitions": [{"type": "function", "function": tool}],
            "extra": {"temperature": 0.5},
        },
        "steps": [
            {"step_id": 1, "source": "system", "message": "You mend things."},
            {"step_id": 2, "source": "user", "message": "Fix it.", "timestamp": "2026-01-01T00:00:00Z"},
            {
                "step_id": 3,
                "source": "agent",
                "message": "I look.",
                "reasoning_effort": "low",
                "reasoning_content": "Where?",
                "tool_calls": [{"tool_call_id": "c1", "function_name": "run", "arguments": {"command": "ls"}}],
                "observation": {"results": [{"source_call_id": "c1", "content": "a.py"}, {"content": "reset"}]},
                "metrics": {"prompt_tokens": 12, "completion_tokens": 3, "cached_tokens": 1, "cost_usd": 0.1},
            },
            {"step_id": 4, "source": "user", "message": "Hurry."},
            {"step_id": 5, "source": "agent", "model_name": "small", "message": "Done."},
        ],
        "notes": "A note.",
        "final_metrics": {"total_prompt_tokens": 12, "total_steps": 5},
        "extra": {"mine": 1},
    }
    return {key: value for key, value in (document | changed).items() if value is not None}


def putting(value: Any, *path: str | int) -> Spoil:
    """Put a value where `path` leads."""

    def spoil(document: dict[str, Any]) -> dict[str, Any]:
        place: Any = document
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        return document

    return spoil


def without(*path: str | int) -> Spoil:
    """Take away what `path` leads to."""

    def spoil(document: dict[str, Any]) -> dict[str, Any]:
        place: Any = document
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]
        return document

    return spoil


def deep(levels: int) -> Any:
    """Lists within lists."""
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


IMAGE = [{"type": "text", "text": "See"}, {"type": "image", "source": {"media_type": "image/png", "path": "a.png"}}]
SOUND = [{"type": "audio", "source": {"media_type": "audio/wav", "path": "a.wav"}}]
BROKEN: dict[str, tuple[Spoil, str]] = {
    # what is wrong: how it is made so, and what the message names
    "no object": (lambda document: [document], "JSON object"),
    "no version": (without("schema_version"), "'schema_version' is missing"),
    "a later version": (putting("ATIF-v2.0", "schema_version"), "'ATIF-v2.0'"),
    "a version that is a number": (putting(1.7, "schema_version"), "'schema_version' is 1.7"),
    "no agent": (without("agent"), "'agent' is missing"),
    "an agent without a name": (without("agent", "name"), "'agent.name' is missing"),
    "an agent without a version": (without("agent", "version"), "'agent.version' is missing"),
    "no steps": (without("steps"), "'steps' is missing"),
    "an empty list of steps": (putting([], "steps"), "steps: "),
    "steps that are no list": (putting({"1": {}}, "steps"), "steps: "),
    "a step that is no object": (putting("hello", "steps", 1), "steps.1: "),
    "a step without a number": (without("steps", 1, "step_id"), "'steps.1.step_id' is missing"),
    "a gap in the numbers": (putting(7, "steps", 3, "step_id"), "'steps.3.step_id' should be 4"),
    "numbers from 0": (putting(0, "steps", 0, "step_id"), "'steps.0.step_id' should be 1"),
    "a step without a source": (without("steps", 0, "source"), "'steps.0.source' is missing"),
    "an unknown source": (putting("assistant", "steps", 2, "source"), "steps.2.source: "),
    "a step without a message": (without("steps", 0, "message"), "'steps.0.message' is missing"),
    "a message that is a number": (putting(5, "steps", 0, "message"), "steps.0.message: "),
    "an image": (putting(IMAGE, "steps", 1, "message"), "steps.1.message: part 1 is image"),
    "sound in an observation": (
        putting(SOUND, "steps", 2, "observation", "results", 0, "content"),
        "steps.2.observation.results.0.content: part 0 is audio",
    ),
    "a part of no kind": (putting([{"text": "x"}], "steps", 0, "message"), "steps.0.message: part 0"),
    "a misspelt key": (putting("x", "steps", 2, "reasoning"), "no key 'steps.2.reasoning'"),
    "a misspelt root key": (putting("x", "session"), "Did you mean 'session_id'?"),
    "a user who thinks": (putting("hm", "steps", 1, "reasoning_content"), "steps.1: 'reasoning_content'"),
    "a user who calls tools": (putting([], "steps", 1, "tool_calls"), "steps.1: 'tool_calls'"),
    "a call without an id": (without("steps", 2, "tool_calls", 0, "tool_call_id"), "steps.2.tool_calls.0.tool_call_id"),
    "a call without a name": (without("steps", 2, "tool_calls", 0, "function_name"), "tool_calls.0.function_name"),
    "arguments as text": (putting("{}", "steps", 2, "tool_calls", 0, "arguments"), "steps.2.tool_calls.0.arguments: "),
    "an answer to no call": (
        putting("c9", "steps", 2, "observation", "results", 0, "source_call_id"),
        "steps.2: 'observation.results.0.source_call_id' 'c9'",
    ),
    "an observation without results": (
        without("steps", 2, "observation", "results"),
        "observation.results' is missing",
    ),
    "no model, and its metrics": (putting(0, "steps", 2, "llm_call_count"), "'metrics' is for steps that a model made"),
    "a negative count of calls": (putting(-1, "steps", 2, "llm_call_count"), "steps.2.llm_call_count: "),
    "ids that are words": (putting(["a"], "steps", 2, "metrics", "completion_token_ids"), "completion_token_ids.0: "),
    "a number JSON lacks": (putting([float("nan")], "steps", 2, "metrics", "logprobs"), "metrics.logprobs.0: nan"),
    "no time": (putting("yesterday", "steps", 1, "timestamp"), "steps.1.timestamp: should be a time"),
    "tools that are names": (putting(["run"], "agent", "tool_definitions"), "agent.tool_definitions.0: "),
    "a tool without a name": (putting([{"type": "function"}], "agent", "tool_definitions"), "agent.tool_definitions.0"),
    "a subagent without an id": (
        lambda document: document | {"subagent_trajectories": [foreign(trajectory_id=None)]},
        "subagent_trajectories.0.trajectory_id",
    ),
    "two subagents of one name": (
        lambda document: document | {"subagent_trajectories": [foreign(), foreign()]},
        "subagent_trajectories.1.trajectory_id",
    ),
    "far too deep": (putting(deep(5000), "extra", "mine"), "nested too deep"),
    "ours, and no object": (putting([1], "extra", "agentdistill"), "extra.agentdistill: "),
    "ours, with an unknown key": (putting({"sed": 1}, "extra", "agentdistill"), "no key 'extra.agentdistill.sed'"),
    "ours, with another's value": (putting({"seed": "x"}, "extra", "agentdistill"), "extra.agentdistill.seed: "),
    "ours, forked nowhere": (putting({"parent_trajectory_id": "x"}, "extra", "agentdistill"), "takeover_step"),
    "ours, by nobody": (
        putting({"agentdistill": {"actor": "judge"}}, "steps", 2, "extra"),
        "steps.2.extra.agentdistill.actor: ",
    ),
    "ours, with messages that are none": (
        putting({"agentdistill": {"messages": [{"role": "x"}]}}, "steps", 1, "extra"),
        "steps.1.extra.agentdistill.messages.0.role: ",
    ),
}
