"""Losses as functions of named, shaped tensors.

A loss takes `LossInputs` and returns a `LossOutput`; a user's own is any such function, named `module:function`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch


@dataclass(frozen=True)
class LossInputs:
    """One micro-batch, as a loss meets it. All tensors but `logits` and those of other models come without gradient.

    Attributes:
        logits: [rows, length, vocabulary], the student's; position t predicts token t + 1.
        input_ids: [rows, length] integer ids.
        loss_mask: [rows, length] bool; True where the token itself carries loss.
        normaliser: what a sum over tokens is divided by: the supervised tokens of the whole optimiser step, over all
            micro-batches. For a loss over pairs, the pairs of the step.
        weights: [rows, length] factor of each token's loss; 1 where a segment has none.
        logprobs: [rows, length] natural log-probability of each token when it was sampled; NaN where it is not known.
        teacher_logprobs: [rows, length] the same under the teacher; NaN where it is not known.
        by_teacher: [rows, length] bool; True where the token belongs to a turn of the teacher.
        teacher_logits: [rows, length, vocabulary] the teacher's, or `None` if the run has no teacher that gives them.
        reference_logprobs: [rows, length] under the student before it was trained, or `None` if nobody asked.
        paired: True if row 2i is the chosen and row 2i + 1 the rejected continuation of pair i.
    """

    logits: torch.Tensor
    input_ids: torch.Tensor
    loss_mask: torch.Tensor
    normaliser: float
    weights: torch.Tensor
    logprobs: torch.Tensor
    teacher_logprobs: torch.Tensor
    by_teacher: torch.Tensor
    teacher_logits: torch.Tensor | None = None
    reference_logprobs: torch.Tensor | None = None
    paired: bool = False


@dataclass(frozen=True)
class LossOutput:
    """What a loss says: the scalar to differentiate, and numbers to show (no gradient)."""

    loss: torch.Tensor
    metrics: Mapping[str, float] = field(default_factory=dict)


class Loss(Protocol):
    """A loss function. Tokens whose mask is False get exactly zero gradient."""

    def __call__(self, inputs: LossInputs) -> LossOutput:
        """The loss of one micro-batch."""
        ...


def masked_cross_entropy(inputs: LossInputs) -> LossOutput:
    """Next-token cross-entropy in nats, weighted, summed over the tokens that carry loss, over the normaliser."""
    wanted = inputs.loss_mask[:, 1:]
    predicted = inputs.logits[:, :-1][wanted]
    predicted = predicted.to(torch.promote_types(predicted.dtype, torch.float32))  # half precision cannot hold a sum
    each = torch.nn.functional.cross_entropy(predicted, inputs.input_ids[:, 1:][wanted], reduction="none")
    return LossOutput((each * inputs.weights[:, 1:][wanted]).sum() / inputs.normaliser)
