"""A loss of one's own: tokens that the student already finds likely count less (focal loss, 1708.02002).

In a config: `{name = "examples/own_loss.py:focal", options = {gamma = 2.0}}`.
"""

from typing import Annotated

import torch
from pydantic import Field

from agentdistill.losses import LossInputs, LossOutput


def focal(inputs: LossInputs, *, gamma: Annotated[float, Field(ge=0)] = 1.0) -> LossOutput:
    """Cross-entropy of each token that carries loss, times (1 - its probability) to the power of gamma."""
    wanted = inputs.loss_mask[:, 1:]
    scores = torch.log_softmax(inputs.logits[:, :-1][wanted].float(), dim=-1)
    logprobs = scores.gather(-1, inputs.input_ids[:, 1:][wanted][:, None])[:, 0]
    each = -((1 - logprobs.exp()) ** gamma) * logprobs
    return LossOutput(
        (each * inputs.weights[:, 1:][wanted]).sum() / inputs.normaliser,
        {"likely": float((logprobs > -0.1).sum()) / inputs.normaliser},
    )
