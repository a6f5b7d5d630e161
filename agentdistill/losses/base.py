"""What a loss is given and what it says, on one page; and the pieces that all of them are made of.

A loss takes `LossInputs` and returns a `LossOutput`; a user's own is any such function, named `module:function`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol, TypeVar, get_args

import torch

from agentdistill.errors import UsageError, nearest

Need = Literal[
    "teacher_logits", "teacher_top", "reference_logprobs", "logprobs", "teacher_logprobs", "by_teacher", "pairs"
]
"""What only some losses want. `pairs`: rows that are preference pairs. `teacher_top`: the teacher's likeliest tokens
and their log-probabilities. The rest are fields of `LossInputs`."""

NEEDS: frozenset[str] = frozenset(get_args(Need))


@dataclass(frozen=True)
class LossInputs:
    """One micro-batch, as a loss meets it. All tensors but `logits` come without gradient.

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
        teacher_top_ids: [rows, length, k] the tokens that the teacher holds likeliest at each place, if that is all
            that is known of it, or `None`; at tokens that carry no loss they mean nothing.
        teacher_top_logprobs: [rows, length, k] their natural log-probabilities.
        reference_logprobs: [rows, length] of each token under the student before it was trained, or `None` if nobody
            asked; NaN where a token carries no loss.
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
    teacher_top_ids: torch.Tensor | None = None
    teacher_top_logprobs: torch.Tensor | None = None
    reference_logprobs: torch.Tensor | None = None
    paired: bool = False


@dataclass(frozen=True)
class LossOutput:
    """What a loss says: the scalar to differentiate, and numbers to show (no gradient).

    Numbers are shares of the whole step, as the loss is: sums over the tokens (or pairs) of the micro-batch, over the
    normaliser. So those of all micro-batches add up to a mean.
    """

    loss: torch.Tensor
    metrics: Mapping[str, float] = field(default_factory=dict)


class Loss(Protocol):
    """A loss function. Tokens whose mask is False get exactly zero gradient."""

    def __call__(self, inputs: LossInputs) -> LossOutput:
        """The loss of one micro-batch."""
        ...


AnyLoss = TypeVar("AnyLoss", bound=Callable[..., LossOutput])


def needs(
    *what: Need, unless: Mapping[str, Need] | None = None, instead: Mapping[Need, Need] | None = None
) -> Callable[[AnyLoss], AnyLoss]:
    """Declare on a loss function what it needs, so that the trainer computes it, and only then.

    Args:
        what: the names.
        unless: a name that is not needed where the option of the loss that it stands under is on.
        instead: what will do in place of a need, where the rows have it.
    """

    def declare(loss: AnyLoss) -> AnyLoss:
        loss.needs = frozenset(what)  # type: ignore[attr-defined]
        loss.needs_unless = dict(unless or {})  # type: ignore[attr-defined]
        loss.needs_instead = dict(instead or {})  # type: ignore[attr-defined]
        return loss

    return declare


def needs_of(loss: Loss) -> frozenset[str]:
    """What a loss says it needs: its attribute `needs`, an iterable of names (nothing, if it has none).

    Raises:
        UsageError: it needs something that there is not.
    """
    function, options = unwrapped(loss)
    declared = frozenset(getattr(function, "needs", ()))
    for name in sorted(declared - NEEDS):
        known = ", ".join(sorted(NEEDS))
        raise UsageError(f"the loss {name_of(loss)} needs {name!r}.{nearest(name, NEEDS)} There are: {known}")
    unless: Mapping[str, Need] = getattr(function, "needs_unless", {})
    return declared - {what for option, what in unless.items() if options.get(option)}


def instead_of(loss: Loss) -> Mapping[str, str]:
    """What will do in place of some of a loss's needs."""
    return dict(getattr(unwrapped(loss)[0], "needs_instead", {}))


def name_of(loss: Loss) -> str:
    """What a loss is called where numbers are shown."""
    function, _ = unwrapped(loss)
    return str(getattr(function, "__name__", type(function).__name__))


def unwrapped(loss: Any) -> tuple[Any, Mapping[str, Any]]:
    """The function behind options that were bound, and those options."""
    return (loss.func, loss.keywords) if isinstance(loss, partial) else (loss, {})


# ---- what losses are made of -----------------------------------------------------------------------------------------


def predicting(logits: torch.Tensor, loss_mask: torch.Tensor) -> torch.Tensor:
    """The logits that predict the tokens which carry loss: [tokens, vocabulary], in single precision at least."""
    chosen = logits[:, :-1][loss_mask[:, 1:]]
    return chosen.to(torch.promote_types(chosen.dtype, torch.float32))  # half precision cannot hold a sum


def of_tokens(values: torch.Tensor, loss_mask: torch.Tensor) -> torch.Tensor:
    """What `values` [rows, length] says of the tokens that carry loss: [tokens], in the order of `predicting`."""
    return values[:, 1:][loss_mask[:, 1:]]


def token_logprobs(logits: torch.Tensor, input_ids: torch.Tensor, loss_mask: torch.Tensor) -> torch.Tensor:
    """Natural log-probabilities of the tokens that carry loss: [tokens]."""
    found = torch.log_softmax(predicting(logits, loss_mask), dim=-1)
    return found.gather(-1, of_tokens(input_ids, loss_mask)[:, None])[:, 0]


def weighted_mean(each: torch.Tensor, inputs: LossInputs) -> torch.Tensor:
    """The loss of a micro-batch from that of `each` token [tokens]: weighted, summed, over the normaliser."""
    return (each * of_tokens(inputs.weights, inputs.loss_mask)).sum() / inputs.normaliser


def known(values: torch.Tensor, what: str, inputs: LossInputs) -> torch.Tensor:
    """What `values` says of the tokens that carry loss, if it says something of each of them.

    Raises:
        UsageError: it is NaN for one of them. Leaving such tokens out would change what is averaged over, unnoticed.
    """
    chosen = of_tokens(values, inputs.loss_mask)
    if bool(chosen.isnan().any()):
        raise UsageError(f"{int(chosen.isnan().sum())} tokens carry loss and have no {what}: mask them, or score them")
    return chosen
