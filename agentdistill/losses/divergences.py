"""Distances between the student's next-token distribution and the teacher's: both whole, nothing is sampled.

Below, P is the teacher's and Q the student's distribution of one token, both after the logits were divided by
`temperature` (the loss is not multiplied by its square, as some other code does it: gradients get smaller as it grows).
Each loss is a sum over the tokens that carry loss, weighted, over the normaliser, in nats.

Where only the teacher's likeliest k tokens are known, P and Q are distributions over these and one more outcome, "any
other token". That is never more than the distance of the whole distributions, and comes to it as k grows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field

from agentdistill.errors import UsageError
from agentdistill.losses.base import LossInputs, LossOutput, needs, of_tokens, predicting, weighted_mean
from agentdistill.losses.closed import Tokens, closed_form

Temperature = Annotated[float, Field(gt=0)]
Beta = Annotated[float, Field(gt=0, lt=1)]

_Found = tuple[torch.Tensor, torch.Tensor]

_Distance = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], _Found]
"""From ln P, ln Q and Q [tokens, outcomes], which may be written over, to the distance of each token [tokens] and its
gradient on the scores whose softmax Q is [tokens, outcomes]."""


def _forward_kl(
    teacher: torch.Tensor, student: torch.Tensor, likely: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    expected = teacher.exp()
    each = torch.linalg.vecdot(expected, teacher.sub_(student))
    return each, likely.sub_(expected)


def _reverse_kl(
    teacher: torch.Tensor, student: torch.Tensor, likely: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    gap = torch.sub(student, teacher, out=teacher)
    each = torch.linalg.vecdot(likely, gap)
    return each, likely.mul_(gap.sub_(each[:, None]))


def _jensen_shannon(beta: float) -> _Distance:
    def distance(teacher: torch.Tensor, student: torch.Tensor, likely: torch.Tensor) -> _Found:
        expected = teacher.exp()
        mixture = expected.mul(beta).add_(likely, alpha=1 - beta).log_().clamp_min_(torch.finfo(teacher.dtype).min)
        forward = torch.linalg.vecdot(expected, teacher.sub_(mixture))
        gap = torch.sub(student, mixture, out=mixture)
        backward = torch.linalg.vecdot(likely, gap)
        return forward * beta + backward * (1 - beta), likely.mul_(gap.sub_(backward[:, None]).mul_(1 - beta))

    return distance


def _closed(tokens: Tokens, distance: _Distance, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The distance of each token [tokens], and its weighted gradient on the logits over the normaliser."""
    student = tokens.logits.div_(temperature) if temperature != 1 else tokens.logits
    student -= student.logsumexp(dim=-1, keepdim=True)
    factor = (tokens.weights.to(student.dtype) / (tokens.normaliser * temperature))[:, None]
    if tokens.teacher_logits is None:
        ids, teacher = _likeliest(tokens.teacher_top_ids, tokens.teacher_top_logprobs, temperature, student.dtype)
        few, rest = _with_rest(student, ids)
        each, gradient = distance(teacher, few, few.exp())
        # The last outcome's gradient is shared among the tokens it stands for, in proportion to their probabilities.
        share = (gradient[:, -1:] / few[:, -1:].exp().clamp_min(torch.finfo(few.dtype).tiny)).mul_(factor)
        return each, rest.exp_().mul_(share).scatter_(-1, ids, gradient[:, :-1] * factor)
    teacher = tokens.teacher_logits.div_(temperature) if temperature != 1 else tokens.teacher_logits
    teacher -= teacher.logsumexp(dim=-1, keepdim=True)
    teacher.clamp_min_(torch.finfo(teacher.dtype).min)
    each, gradient = distance(teacher, student, student.exp())
    return each, gradient.mul_(factor)


def _said(each: torch.Tensor, tokens: Tokens) -> LossOutput:
    return LossOutput((each * tokens.weights.to(each.dtype)).sum() / tokens.normaliser)


def _closed_forward(tokens: Tokens, temperature: float = 1.0) -> tuple[LossOutput, torch.Tensor]:
    each, gradient = _closed(tokens, _forward_kl, temperature)
    return _said(each, tokens), gradient


def _closed_reverse(tokens: Tokens, temperature: float = 1.0) -> tuple[LossOutput, torch.Tensor]:
    each, gradient = _closed(tokens, _reverse_kl, temperature)
    return _said(each, tokens), gradient


def _closed_shannon(tokens: Tokens, beta: float = 0.5, temperature: float = 1.0) -> tuple[LossOutput, torch.Tensor]:
    each, gradient = _closed(tokens, _jensen_shannon(beta), temperature)
    return _said(each, tokens), gradient


def _closed_by_owner(tokens: Tokens, temperature: float = 1.0) -> tuple[LossOutput, torch.Tensor]:
    owned = tokens.by_teacher

    def distance(teacher: torch.Tensor, student: torch.Tensor, likely: torch.Tensor) -> _Found:
        each, gradient = torch.empty_like(student[:, 0]), torch.empty_like(student)
        each[owned], gradient[owned] = _forward_kl(teacher[owned], student[owned], likely[owned])
        each[~owned], gradient[~owned] = _reverse_kl(teacher[~owned], student[~owned], likely[~owned])
        return each, gradient

    each, gradient = _closed(tokens, distance, temperature)
    said = _said(each, tokens)
    return LossOutput(said.loss, {"by_teacher": float(owned.sum()) / tokens.normaliser}), gradient


@closed_form(_closed_forward)
@needs("teacher_logits", instead={"teacher_logits": "teacher_top"})
def forward_kl(inputs: LossInputs, *, temperature: Temperature = 1.0) -> LossOutput:
    """KL(P ‖ Q): the student must cover all that the teacher would say (Hinton et al. 1503.02531)."""
    teacher, student = _log_distributions(inputs, temperature)
    return LossOutput(weighted_mean(_kl(teacher, student), inputs))


@closed_form(_closed_reverse)
@needs("teacher_logits", instead={"teacher_logits": "teacher_top"})
def reverse_kl(inputs: LossInputs, *, temperature: Temperature = 1.0) -> LossOutput:
    """KL(Q ‖ P): the student must say only what the teacher might (MiniLLM 2306.08543, at each token by itself)."""
    teacher, student = _log_distributions(inputs, temperature)
    return LossOutput(weighted_mean(_kl(student, teacher), inputs))


@closed_form(_closed_shannon)
@needs("teacher_logits", instead={"teacher_logits": "teacher_top"})
def jensen_shannon(inputs: LossInputs, *, beta: Beta = 0.5, temperature: Temperature = 1.0) -> LossOutput:
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


@closed_form(_closed_by_owner)
@needs("teacher_logits", "by_teacher", instead={"teacher_logits": "teacher_top"})
def by_owner(inputs: LossInputs, *, temperature: Temperature = 1.0) -> LossOutput:
    """Forward KL on the tokens of the teacher's turns, reverse KL on the student's own (Guided-OPD 2606.15912)."""
    teacher, student = _log_distributions(inputs, temperature)
    owned = of_tokens(inputs.by_teacher, inputs.loss_mask)
    each = torch.where(owned, _kl(teacher, student), _kl(student, teacher))
    return LossOutput(weighted_mean(each, inputs), {"by_teacher": float(owned.sum()) / inputs.normaliser})


def _log_distributions(inputs: LossInputs, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """ln P and ln Q of the tokens that carry loss, each [tokens, outcomes].

    Raises:
        UsageError: nothing is known of the teacher.
    """
    student = torch.log_softmax(predicting(inputs.logits, inputs.loss_mask) / temperature, dim=-1)
    with torch.no_grad():
        if inputs.teacher_logits is not None:
            teacher = predicting(inputs.teacher_logits, inputs.loss_mask)
            teacher = torch.log_softmax(teacher / temperature, dim=-1)
            # A token that the teacher rules out: finite, so that 0 x ln 0 is 0 and not NaN.
            return teacher.clamp_min(torch.finfo(teacher.dtype).min), student
        known = [
            None if each is None else of_tokens(each, inputs.loss_mask)
            for each in (inputs.teacher_top_ids, inputs.teacher_top_logprobs)
        ]
        ids, teacher = _likeliest(known[0], known[1], temperature, student.dtype)
    return teacher, _with_rest(student, ids)[0]


def _likeliest(
    ids: torch.Tensor | None, logprobs: torch.Tensor | None, temperature: float, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """The teacher's likeliest tokens [tokens, k], and ln P of these and of the rest [tokens, k + 1].

    Raises:
        UsageError: they are not known, or their temperature cannot be changed.
    """
    if ids is None or logprobs is None:
        raise UsageError(
            "this loss needs a teacher that gives logits (a local model with the student's vocabulary), or rows with "
            "its likeliest tokens"
        )
    if temperature != 1:
        raise UsageError("the teacher's likeliest tokens are known at temperature 1 only: leave temperature out")
    # What is left cannot be told from nothing below the precision that log-probabilities are kept in.
    left = (1 - logprobs.double().exp().sum(dim=-1, keepdim=True)).clamp_min(torch.finfo(torch.float32).eps)
    return ids, torch.cat([logprobs.to(dtype), left.log().to(dtype)], dim=-1)


def _with_rest(student: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """ln Q of the tokens `ids` and of all others together [tokens, k + 1], and of each of the others, -inf at `ids`.

    Raises:
        UsageError: there are no others.
    """
    if ids.shape[-1] >= student.shape[-1]:
        raise UsageError(f"{ids.shape[-1]} likeliest tokens are the whole vocabulary: give the teacher's logits")
    rest = student.scatter(-1, ids, -torch.inf)
    return torch.cat([student.gather(-1, ids), rest.logsumexp(dim=-1, keepdim=True)], dim=-1), rest


def _kl(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """KL(first ‖ second) of each token [tokens], from log-probabilities [tokens, vocabulary]."""
    return (first.exp() * (first - second)).sum(dim=-1)
