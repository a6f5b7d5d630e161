"""Losses as functions of named, shaped tensors: ours, and where a user's own is found (`module:function`)."""

from agentdistill.losses.base import NEEDS, Loss, LossInputs, LossOutput, Need, name_of, needs, needs_of
from agentdistill.losses.closed import Tokens, closed_form, from_logprobs, per_token
from agentdistill.losses.divergences import by_owner, forward_kl, jensen_shannon, reverse_kl
from agentdistill.losses.loading import READY, LossSpec, load_loss
from agentdistill.losses.preference import dpo
from agentdistill.losses.sampled import reverse_kl_policy_gradient
from agentdistill.losses.supervised import masked_cross_entropy

__all__ = [
    "NEEDS",
    "READY",
    "Loss",
    "LossInputs",
    "LossOutput",
    "LossSpec",
    "Need",
    "Tokens",
    "by_owner",
    "closed_form",
    "dpo",
    "forward_kl",
    "from_logprobs",
    "jensen_shannon",
    "load_loss",
    "masked_cross_entropy",
    "name_of",
    "needs",
    "needs_of",
    "per_token",
    "reverse_kl",
    "reverse_kl_policy_gradient",
]
