"""Learning what was said: cross-entropy on the tokens that carry loss."""

from __future__ import annotations

import torch

from agentdistill.losses.base import LossInputs, LossOutput, of_tokens, predicting, weighted_mean
from agentdistill.losses.closed import Tokens, closed_form


def _closed(tokens: Tokens) -> tuple[LossOutput, torch.Tensor]:
    """Softmax less one at what was said: written over the logits."""
    scores, said = tokens.logits, tokens.ids[:, None]
    scale = scores.logsumexp(dim=-1, keepdim=True)
    each = (scale - scores.gather(-1, said))[:, 0]
    factor = tokens.weights.to(scores.dtype) / tokens.normaliser
    gradient = scores.sub_(scale).exp_().mul_(factor[:, None])
    gradient.scatter_add_(-1, said, -factor[:, None])
    return LossOutput((each * factor).sum()), gradient


@closed_form(_closed)
def masked_cross_entropy(inputs: LossInputs) -> LossOutput:
    """Next-token cross-entropy in nats, weighted, summed over the tokens that carry loss, over the normaliser."""
    predicted = predicting(inputs.logits, inputs.loss_mask)
    each = torch.nn.functional.cross_entropy(predicted, of_tokens(inputs.input_ids, inputs.loss_mask), reduction="none")
    return LossOutput(weighted_mean(each, inputs))
