"""TRL's preference training: what the teacher said at the divergence against what the student said there.

`trl.DPOTrainer` takes `prompt`, `chosen` and `rejected` as messages, with `tools` as JSON text, and renders them with
its tokenizer's chat template (seen in TRL 1.16). Arguments of calls are objects, as templates want them. Where the
student's tokenizer is known, `prompt_ids`, `chosen_ids` and `rejected_ids` stand beside them: what its collator feeds
to the model. The trainer makes them anew from the messages, unless its `_prepare_dataset` leaves the data set as it is.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel

from agentdistill.formats.trl import Token
from agentdistill.policies.chat_format import message_to_json, tool_to_json
from agentdistill.records import Message, PreferencePair, Segment, Trajectory


def dpo_row(better: Trajectory, worse: Trajectory, step: int) -> dict[str, Any]:
    """The first turns of two trajectories after `step` steps that they share."""
    return {
        "prompt": [_told(message) for message in better.messages(step)],
        "chosen": [_told(better.steps[step].completion.message)],
        "rejected": [_told(worse.steps[step].completion.message)],
        "tools": json.dumps([tool_to_json(spec) for spec in better.tools]),
    }


def dpo_ids(pair: PreferencePair) -> dict[str, Any]:
    """The same in tokens: what both begin with, and what of each carries loss."""
    start = pair.chosen.loss_mask.index(True)
    return {
        "prompt_ids": list(pair.chosen.input_ids[:start]),
        "chosen_ids": list(pair.chosen.input_ids[start:]),
        "rejected_ids": list(pair.rejected.input_ids[start:]),
    }


def read_dpo_row(row: dict[str, Any], name: str) -> PreferencePair:
    """The pair of a row that has ids: the prompt carries no loss, all that was chosen or rejected does.

    Args:
        row: `prompt_ids`, `chosen_ids` and `rejected_ids`; other keys may be there.
        name: what to call it, where the row has no `id`.

    Raises:
        ValueError: the row has no ids.
    """
    ids = _Ids.model_validate(row)
    called = str(row.get("id") or name)
    start = len(ids.prompt_ids)

    def side(kind: Literal["recovery", "own"], said: tuple[int, ...]) -> Segment:
        whole = (*ids.prompt_ids, *said)
        # Nothing stands before the first token of all, so that nothing predicts it.
        mask = tuple(at >= max(1, start) for at in range(len(whole)))
        return Segment(id=f"{called}-{kind}", kind=kind, trajectory_id=called, input_ids=whole, loss_mask=mask)

    return PreferencePair(
        id=called,
        trajectory_id=called,
        step=max(0, int(row.get("takeover_step") or 0)),
        chosen=side("recovery", ids.chosen_ids),
        rejected=side("own", ids.rejected_ids),
        source="takeover",
    )


class _Ids(BaseModel):
    prompt_ids: tuple[Token, ...]
    chosen_ids: tuple[Token, ...]
    rejected_ids: tuple[Token, ...]


def _told(message: Message) -> dict[str, Any]:
    told = message_to_json(message, "reasoning_content")
    for call, said in zip(told.get("tool_calls", ()), message.tool_calls, strict=True):
        call["function"]["arguments"] = said.arguments
    return told
