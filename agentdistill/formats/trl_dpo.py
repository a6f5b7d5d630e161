"""TRL's preference training: what the teacher said at the divergence against what the student said there.

`trl.DPOTrainer` takes `prompt`, `chosen` and `rejected` as messages, with `tools` as JSON text, and renders them with
its tokenizer's chat template (seen in TRL 1.16). Arguments of calls are objects, as templates want them. Where the
student's tokenizer is known, `prompt_ids`, `chosen_ids` and `rejected_ids` stand beside them: what its collator feeds
to the model. The trainer makes them anew from the messages, unless its `_prepare_dataset` leaves the data set as it is.
"""

from __future__ import annotations

import json
from typing import Any

from agentdistill.policies.chat_format import message_to_json, tool_to_json
from agentdistill.records import Message, Segment, Trajectory


def dpo_row(better: Trajectory, worse: Trajectory, step: int) -> dict[str, Any]:
    """The first turns of two trajectories after `step` steps that they share."""
    return {
        "prompt": [_told(message) for message in better.messages(step)],
        "chosen": [_told(better.steps[step].completion.message)],
        "rejected": [_told(worse.steps[step].completion.message)],
        "tools": json.dumps([tool_to_json(spec) for spec in better.tools]),
    }


def dpo_ids(chosen: Segment, rejected: Segment) -> dict[str, Any]:
    """The same in tokens: what both begin with, and what of each carries loss."""
    start = chosen.loss_mask.index(True)
    return {
        "prompt_ids": list(chosen.input_ids[:start]),
        "chosen_ids": list(chosen.input_ids[start:]),
        "rejected_ids": list(rejected.input_ids[start:]),
    }


def _told(message: Message) -> dict[str, Any]:
    told = message_to_json(message, "reasoning_content")
    for call, said in zip(told.get("tool_calls", ()), message.tool_calls, strict=True):
        call["function"]["arguments"] = said.arguments
    return told
