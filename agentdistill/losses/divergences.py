"""Distances between the student's next-token distribution and the teacher's: both whole, nothing is sampled.

Below, P is the teacher's and Q the student's distribution of one token, both after the logits were divided by
`temperature` (the loss is not multiplied by its square, as some other code does it: gradients get smaller as it grows).
Each loss is a sum over the tokens that carry loss, weighted, over the normaliser, in nats.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from agentdistill.errors import UsageError
from agentdistill.losses.base import LossInputs, LossOutput, needs, of_tokens, predicting, weighted_mean

Temperature = Annotated[float, Field(gt=0)]


@needs("teacher_logits")
def forward_kl(inputs: LossInputs, *, temperature: Temperature = 1.0) -> LossOutput:
    """KL(P ‖ Q): the student must cover all that the teacher would say (Hinton et al. 1503.02531)."""
    teacher, student = _log_distributions(inputs, temperature)
    return LossOutput(weighted_mean(_kl(teacher, student), inputs))


@needs("teacher_logits")
def reverse_kl(inputs: LossInputs, *, temperature: Temperature = 1.0) -> LossOutput:
    """KL(Q ‖ P): the student must say only what the teacher might (MiniLLM 2306.08543, at each token by itself)."""
    teacher, student = _log_distributions(inputs, temperature)
    return LossOutput(weighted_mean(_kl(student, teacher), inputs))


@needs("teacher_logits")
def jensen_shannon(
    inputs: LossInputs, *, beta: Annotated[float, Field(gt=0, lt=1)] = 0.5, temperature: Temperature = 1.0
) -> LossOutput:
    """The generalised Jensen-Shannon divergence of GKD (2306.13649, section 2).

    beta x KL(P ‖ M) + (1 - beta) x KL(Q ‖ M) with the mixture M = beta x P + (1 - beta) x Q. At beta = 0.5 it is
    symmetric and at most ln 2. Towards beta = 0 it goes to 0 as beta x `forward_kl` does, towards beta = 1 as
    (1 - beta) x `reverse_kl` does; at both ends it would be nothing, so they are not allowed.
    """
    teacher, student = _log_distributions(inputs, temperature)
    share = torch.tensor(beta, dtype=student.dtype, device=student.device)
    mixture = torch.logaddexp(teacher + share.log(), student + (1 - share).log())
    each = beta * _kl(teacher, mixture) + (1 - beta) * _kl(student, mixture)
    return LossOutput(weighted_mean(each, inputs))


@needs("teacher_logits", "by_teacher")
def by_owner(inputs: LossInputs, *, temperature: Temperature = 1.0) -> LossOutput:
    """Forward KL on the tokens of the teacher's turns, reverse KL on the student's own (Guided-OPD 2606.15912)."""
    teacher, student = _log_distributions(inputs, temperature)
    owned = of_tokens(inputs.by_teacher, inputs.loss_mask)
    each = torch.where(owned, _kl(teacher, student), _kl(student, teacher))
    return LossOutput(weighted_mean(each, inputs), {"by_teacher": float(owned.sum()) / inputs.normaliser})


def _log_distributions(inputs: LossInputs, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """ln P and ln Q of the tokens that carry loss, each [tokens, vocabulary].

    Raises:
        UsageError: the teacher gives no logits.
    """
    if inputs.teacher_logits is None:
        raise UsageError("this loss needs a teacher that gives logits: a local model with the student's vocabulary")
    with torch.no_grad():
        teacher = predicting(inputs.teacher_logits, inputs.loss_mask)
        teacher = torch.log_softmax(teacher / temperature, dim=-1)
        # A token that the teacher rules out: finite, so that 0 x ln 0 is 0 and not NaN.
        teacher = teacher.clamp_min(torch.finfo(teacher.dtype).min)
    student = predicting(inputs.logits, inputs.loss_mask)
    return teacher, torch.log_softmax(student / temperature, dim=-1)


def _kl(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """KL(first ‖ second) of each token [tokens], from log-probabilities [tokens, vocabulary]."""
    return (first.exp() * (first - second)).sum(dim=-1)
