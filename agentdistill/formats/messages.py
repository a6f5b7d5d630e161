"""Messages: conversations as OpenAI's chat completions have them, with the tools, and a flag on every message to learn.

One row is one trace::

    {"id": ..., "task": ..., "messages": [{"role": ..., "content": ..., "train": ...}], "tools": [...], ...}

`train` is true for the turns that carry loss: of a recovery the teacher's, never the student's prefix. Calls have their
arguments as JSON text. `by` tells whose turn an assistant's message is. Reasoning stands under `reasoning_content`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentdistill.policies.chat_format import message_to_json, tool_to_json
from agentdistill.records import Trajectory

REASONING = "reasoning_content"


def messages_row(trajectory: Trajectory, learnt: Sequence[bool]) -> dict[str, Any]:
    """A trace as one row.

    Args:
        trajectory: what happened.
        learnt: for each of its steps, whether its turn carries loss.
    """
    told = [{**message_to_json(message, REASONING), "train": False} for message in trajectory.opening]
    for step, train in zip(trajectory.steps, learnt, strict=True):
        said = step.completion
        about = {"train": train, "by": step.actor, "model": said.model}
        told.append(message_to_json(said.message, REASONING) | about)
        told += [{**message_to_json(message, REASONING), "train": False} for message in step.observations]
    return {"messages": told, "tools": [tool_to_json(spec) for spec in trajectory.tools]}
