"""How a loss may be computed faster than from dense logits and by automatic differentiation, with the same result.

A loss as `agentdistill.losses.base` has it is enough: the trainer gives it the logits of the tokens that carry loss,
some rows at a time, so that no tensor of all tokens by the whole vocabulary is ever there. What a loss declares here
besides lets the trainer cut finer (`per_token`), spares it the graph of the softmax (`closed_form`), or the logits
(`from_logprobs`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from agentdistill.losses.base import AnyLoss, Loss, LossOutput, unwrapped

ClosedForm = Callable[..., tuple[LossOutput, torch.Tensor]]
"""From `Tokens` and the loss's options to what the loss says and its gradient on the logits [tokens, vocabulary]."""

FromLogprobs = Callable[..., LossOutput]
"""From `LossInputs` (whose logits are empty), the tokens' log-probabilities [tokens] and the loss's options."""


@dataclass(frozen=True)
class Tokens:
    """The tokens of a micro-batch that carry loss, one after another; nothing here has a gradient.

    Attributes:
        logits: [tokens, vocabulary] of the positions that predict them, in single precision at least. A closed form
            may write over them, and over `teacher_logits`.
        ids: [tokens] what was said.
        weights: [tokens].
        by_teacher: [tokens] bool.
        normaliser: what a sum over tokens is divided by.
        teacher_logits: [tokens, vocabulary], or `None`.
        teacher_top_ids: [tokens, k] the tokens that the teacher holds likeliest, or `None`.
        teacher_top_logprobs: [tokens, k] their log-probabilities.
    """

    logits: torch.Tensor
    ids: torch.Tensor
    weights: torch.Tensor
    by_teacher: torch.Tensor
    normaliser: float
    teacher_logits: torch.Tensor | None = None
    teacher_top_ids: torch.Tensor | None = None
    teacher_top_logprobs: torch.Tensor | None = None

    def part(self, some: slice) -> Tokens:
        """Some of these tokens, in the same memory."""
        own: Any = {name: value[some] for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        return replace(self, **own)


def per_token(loss: AnyLoss) -> AnyLoss:
    """Declare that a loss is a sum over tokens, each for itself: a row may be cut anywhere between two of them."""
    loss.per_token = True  # type: ignore[attr-defined]
    return loss


def closed_form(form: ClosedForm) -> Callable[[AnyLoss], AnyLoss]:
    """Declare that `form` says what the loss says, and its gradient. The loss is one of single tokens (`per_token`)."""

    def declare(loss: AnyLoss) -> AnyLoss:
        loss.closed_form = form  # type: ignore[attr-defined]
        return per_token(loss)

    return declare


def from_logprobs(form: FromLogprobs) -> Callable[[AnyLoss], AnyLoss]:
    """Declare that `form` says what the loss says, from nothing of the logits but the tokens' log-probabilities."""

    def declare(loss: AnyLoss) -> AnyLoss:
        loss.from_logprobs = form  # type: ignore[attr-defined]
        return loss

    return declare


def is_per_token(loss: Loss) -> bool:
    """Whether a loss has declared `per_token`."""
    return bool(getattr(unwrapped(loss)[0], "per_token", False))


def closed_form_of(loss: Loss) -> ClosedForm | None:
    """The closed form of a loss with its options bound, if it has one."""
    return _declared(loss, "closed_form")


def from_logprobs_of(loss: Loss) -> FromLogprobs | None:
    """The form of a loss that takes log-probabilities, with its options bound, if it has one."""
    return _declared(loss, "from_logprobs")


def _declared(loss: Loss, name: str) -> Callable[..., Any] | None:
    function, options = unwrapped(loss)
    form = getattr(function, name, None)
    return partial(form, **options) if form is not None and options else form
