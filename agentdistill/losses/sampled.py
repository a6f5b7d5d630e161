"""On-policy distillation where only log-probabilities of the sampled tokens are known, not whole distributions."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from agentdistill.losses.base import LossInputs, LossOutput, known, needs, of_tokens, predicting, weighted_mean
from agentdistill.losses.closed import per_token


@per_token
@needs("logprobs", "teacher_logprobs")
def reverse_kl_policy_gradient(
    inputs: LossInputs,
    *,
    clip_low: Annotated[float, Field(ge=0, le=1)] = 0.2,
    clip_high: Annotated[float, Field(ge=0)] = 0.2,
    temperature: Annotated[float, Field(gt=0)] = 1.0,
) -> LossOutput:
    """The policy gradient of KL(student ‖ teacher) at each token the student sampled, clipped as in PPO (1707.06347).

    The advantage of a token is A = ln p_teacher - ln p_sampled, a constant (Thinking Machines, "On-Policy
    Distillation", 2025); its importance weight is r = p_now / p_sampled; its loss is
    -min(r x A, clip(r, 1 - clip_low, 1 + clip_high) x A). At r = 1 its expectation over the student's distribution has
    the gradient of `reverse_kl`. Each token answers for itself only: no credit for what it leads to later.

    `temperature` is the one the tokens were sampled at, so that p_now is of the same kind as p_sampled.

    Raises:
        UsageError: a token carries loss and one of its log-probabilities is not known.
    """
    sampled = known(inputs.logprobs, "log-probability from when they were sampled", inputs)
    teacher = known(inputs.teacher_logprobs, "log-probability under the teacher", inputs)
    scores = torch.log_softmax(predicting(inputs.logits, inputs.loss_mask) / temperature, dim=-1)
    now = scores.gather(-1, of_tokens(inputs.input_ids, inputs.loss_mask)[:, None])[:, 0]
    sampled, teacher = sampled.to(now.dtype), teacher.to(now.dtype)
    advantage = teacher - sampled
    ratio = (now - sampled).exp()
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high) * advantage
    each = -torch.minimum(ratio * advantage, clipped)
    metrics = {
        "reverse_kl": -float(advantage.sum()) / inputs.normaliser,
        "clipped": float((clipped < ratio * advantage).sum()) / inputs.normaliser,
        "ratio": float(ratio.detach().sum()) / inputs.normaliser,
    }
    return LossOutput(weighted_mean(each, inputs), metrics)
