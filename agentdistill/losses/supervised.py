"""Learning what was said: cross-entropy on the tokens that carry loss."""

from __future__ import annotations

import torch

from agentdistill.losses.base import LossInputs, LossOutput, of_tokens, predicting, weighted_mean


def masked_cross_entropy(inputs: LossInputs) -> LossOutput:
    """Next-token cross-entropy in nats, weighted, summed over the tokens that carry loss, over the normaliser."""
    predicted = predicting(inputs.logits, inputs.loss_mask)
    each = torch.nn.functional.cross_entropy(predicted, of_tokens(inputs.input_ids, inputs.loss_mask), reduction="none")
    return LossOutput(weighted_mean(each, inputs))
