"""TRL's supervised fine-tuning: token ids, and labels that are -100 wherever there is no loss.

`trl.SFTTrainer` takes a data set with `input_ids` and `labels` as it is (seen in TRL 1.16): nothing is tokenised or
masked again. Set `max_length=None`, or rows are cut at 1024 tokens.
"""

from __future__ import annotations

from typing import Any

from agentdistill.records import Segment

IGNORED = -100
"""The label of a token without loss, as PyTorch's cross entropy ignores it."""


def sft_row(segment: Segment) -> dict[str, Any]:
    """A training row: exactly the ids and the mask of the segment."""
    labels = [token if here else IGNORED for token, here in zip(segment.input_ids, segment.loss_mask, strict=True)]
    return {"input_ids": list(segment.input_ids), "labels": labels}
