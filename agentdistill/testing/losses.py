"""The checks every loss passes: ours, and anybody's.

``check_loss(loss)`` runs named checks on small random micro-batches and returns what each found::

    for check in check_loss(load_loss(LossSpec(name="examples/own_loss.py:focal"))):
        assert check.status != "failed", check

What the loss says it needs (`agentdistill.losses.needs`) is there, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, Literal

import torch

from agentdistill.errors import AgentDistillError
from agentdistill.losses import Loss, LossInputs, LossOutput, needs_of
from agentdistill.testing.environments import Check

ROWS, LENGTH, VOCABULARY = 4, 7, 5


def random_inputs(
    loss: Loss, seed: int, *, rows: int = ROWS, length: int = LENGTH, vocabulary: int = VOCABULARY
) -> LossInputs:
    """A random micro-batch in double precision with what the loss says it needs, and NaN or `None` for the rest.

    Every row has a token that carries loss; `rows` is even for a loss over pairs.
    """
    luck, needed = torch.Generator().manual_seed(seed), needs_of(loss)

    def logprobs() -> torch.Tensor:
        return -5 * torch.rand(rows, length, dtype=torch.float64, generator=luck)

    def logits() -> torch.Tensor:
        return 3 * torch.randn(rows, length, vocabulary, dtype=torch.float64, generator=luck)

    mask = torch.rand(rows, length, generator=luck) < 0.5
    mask[torch.arange(rows), torch.randint(1, length, (rows,), generator=luck)] = True
    unknown = torch.full((rows, length), math.nan, dtype=torch.float64)
    pairs = "pairs" in needed
    return LossInputs(
        logits=logits().requires_grad_(),
        input_ids=torch.randint(0, vocabulary, (rows, length), generator=luck),
        loss_mask=mask,
        normaliser=rows / 2 if pairs else float(mask[:, 1:].sum()),
        weights=0.5 + torch.rand(rows, length, dtype=torch.float64, generator=luck),
        logprobs=logprobs() if "logprobs" in needed else unknown,
        teacher_logprobs=logprobs() if "teacher_logprobs" in needed else unknown,
        by_teacher=(torch.rand(rows, length, generator=luck) < 0.5) & torch.tensor("by_teacher" in needed),
        teacher_logits=logits() if "teacher_logits" in needed else None,
        reference_logprobs=logprobs() if "reference_logprobs" in needed else None,
        paired=pairs,
    )


def gradient(loss: Loss, inputs: LossInputs) -> torch.Tensor:
    """The gradient of the loss on the logits: [rows, length, vocabulary]."""
    leaf = inputs.logits.detach().clone().requires_grad_()
    loss(replace(inputs, logits=leaf)).loss.backward()  # type: ignore[no-untyped-call]
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def predicts(inputs: LossInputs) -> torch.Tensor:
    """[rows, length] bool: the positions whose logits predict a token that carries loss."""
    found = torch.zeros_like(inputs.loss_mask)
    found[:, :-1] = inputs.loss_mask[:, 1:]
    return found


def check_loss(loss: Loss, seeds: int = 5) -> list[Check]:
    """Run every check on a few random micro-batches; a loss that raises has failed the check in which it did."""
    checks = []
    for check in _CHECKS:
        name = check.__name__.removeprefix("_").replace("_", " ")
        status: Literal["passed", "failed"] = "passed"
        detail = ""
        for seed in range(seeds):
            try:
                check(loss, random_inputs(loss, seed))
            except (_Failed, AgentDistillError) as error:
                status, detail = "failed", str(error)
            except Exception as error:  # noqa: BLE001 - whatever somebody else's code raises is what was found
                status, detail = "failed", f"{type(error).__name__}: {error}"
            if status == "failed":
                break
        checks.append(Check(name=name, status=status, detail=detail))
    return checks


class _Failed(Exception):
    """The loss does not do what this check asks."""


def _it_says_a_finite_scalar_with_a_gradient(loss: Loss, inputs: LossInputs) -> None:
    said: Any = loss(inputs)
    _need(isinstance(said, LossOutput), f"it returned a {type(said).__name__}, not a LossOutput")
    _need(said.loss.shape == () and bool(torch.isfinite(said.loss)), f"the loss is {said.loss}")
    found = gradient(loss, inputs)
    _need(bool(torch.isfinite(found).all()), "the gradient is not finite")
    _need(bool((found != 0).any()), "there is no gradient: nothing would be learnt")


def _its_metrics_are_plain_numbers(loss: Loss, inputs: LossInputs) -> None:
    for name, value in loss(inputs).metrics.items():
        _need(isinstance(value, float) and math.isfinite(value), f"metric {name!r} is {value!r}")


def _masked_tokens_get_exactly_no_gradient(loss: Loss, inputs: LossInputs) -> None:
    stray = gradient(loss, inputs)[~predicts(inputs)]
    _need(bool((stray == 0).all()), f"{int((stray != 0).sum())} logits that predict masked tokens have a gradient")


def _what_stands_at_masked_tokens_does_not_matter(loss: Loss, inputs: LossInputs) -> None:
    other = _with_masked_changed(inputs)
    _same(loss(other).loss, loss(inputs).loss, "the loss changes with what stands at masked tokens")
    kept = predicts(inputs)
    _same(gradient(loss, other)[kept], gradient(loss, inputs)[kept], "its gradient changes with what is masked")


def _tokens_of_weight_zero_get_no_gradient(loss: Loss, inputs: LossInputs) -> None:
    weights = inputs.weights.clone()
    weights[:, ::2] = 0
    light = torch.zeros_like(inputs.loss_mask)
    light[:, :-1] = (weights == 0)[:, 1:]
    found = gradient(loss, replace(inputs, weights=weights))[light]
    _need(bool((found == 0).all()), "a token of weight 0 has a gradient: multiply by inputs.weights")


def _micro_batches_add_up(loss: Loss, inputs: LossInputs) -> None:
    size = 2 if inputs.paired else 1
    parts = [_rows(inputs, slice(at, at + size)) for at in range(0, len(inputs.input_ids), size)]
    whole, sums = loss(inputs), [loss(part) for part in parts]
    _near(sum(each.loss.item() for each in sums), whole.loss.item(), "the losses of micro-batches do not add up")
    for name, value in whole.metrics.items():
        _near(sum(each.metrics[name] for each in sums), value, f"metric {name!r} of micro-batches does not add up")


def _it_is_divided_by_the_normaliser(loss: Loss, inputs: LossInputs) -> None:
    halved = loss(replace(inputs, normaliser=2 * inputs.normaliser))
    _near(2 * halved.loss.item(), loss(inputs).loss.item(), "twice the normaliser is not half the loss")


def _padding_changes_nothing(loss: Loss, inputs: LossInputs) -> None:
    def longer(values: torch.Tensor) -> torch.Tensor:
        filler = math.nan if values.dtype.is_floating_point else 0
        return torch.cat([values, torch.full_like(values[:, :2], filler)], dim=1)

    wider: dict[str, Any] = {name: longer(value) for name, value in _tensors(inputs).items()}
    other = replace(inputs, **{**wider, "logits": wider["logits"].nan_to_num()})
    _near(loss(other).loss.item(), loss(inputs).loss.item(), "two columns of padding change the loss")


def _half_precision_is_summed_in_single(loss: Loss, inputs: LossInputs) -> None:
    halves: dict[str, Any] = {
        name: value.detach().to(torch.bfloat16)
        for name, value in _tensors(inputs).items()
        if value.dtype.is_floating_point
    }
    found = loss(replace(inputs, **halves)).loss
    _need(found.dtype in (torch.float32, torch.float64), f"the loss of bfloat16 logits is {found.dtype}")


def _its_inputs_are_left_as_they_were(loss: Loss, inputs: LossInputs) -> None:
    before = {name: value.detach().clone() for name, value in _tensors(inputs).items()}
    gradient(loss, inputs)
    loss(inputs)
    for name, value in _tensors(inputs).items():
        _need(torch.equal(before[name].nan_to_num(7.0), value.detach().nan_to_num(7.0)), f"it wrote into inputs.{name}")


_CHECKS: tuple[Callable[[Loss, LossInputs], None], ...] = (
    _it_says_a_finite_scalar_with_a_gradient,
    _its_metrics_are_plain_numbers,
    _masked_tokens_get_exactly_no_gradient,
    _what_stands_at_masked_tokens_does_not_matter,
    _tokens_of_weight_zero_get_no_gradient,
    _micro_batches_add_up,
    _it_is_divided_by_the_normaliser,
    _padding_changes_nothing,
    _half_precision_is_summed_in_single,
    _its_inputs_are_left_as_they_were,
)


def _with_masked_changed(inputs: LossInputs) -> LossInputs:
    """The same but for what stands at tokens without loss: NaN where there are numbers, the id 0, the other owner."""
    masked, blind = ~inputs.loss_mask, ~predicts(inputs)
    changed: dict[str, Any] = {"input_ids": inputs.input_ids.masked_fill(masked, 0)}
    changed["by_teacher"] = inputs.by_teacher ^ masked
    for name in ("weights", "logprobs", "teacher_logprobs", "reference_logprobs"):
        if (value := getattr(inputs, name)) is not None:
            changed[name] = value.masked_fill(masked, math.nan)
    changed["logits"] = inputs.logits.detach().masked_fill(blind[..., None], 1e30)
    if inputs.teacher_logits is not None:
        changed["teacher_logits"] = inputs.teacher_logits.masked_fill(blind[..., None], -1e30)
    return replace(inputs, **changed)


def _rows(inputs: LossInputs, some: slice) -> LossInputs:
    parts: dict[str, Any] = {name: value[some] for name, value in _tensors(inputs).items()}
    return replace(inputs, **parts)


def _tensors(inputs: LossInputs) -> dict[str, torch.Tensor]:
    """All there are, by name; each begins with [rows, length]."""
    found = {each.name: getattr(inputs, each.name) for each in fields(inputs)}
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}


def _need(condition: bool, otherwise: str) -> None:
    if not condition:
        raise _Failed(otherwise)


def _same(found: torch.Tensor, wanted: torch.Tensor, otherwise: str) -> None:
    _need(torch.equal(found, wanted), otherwise)


def _near(found: float, wanted: float, otherwise: str) -> None:
    _need(math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-12), f"{otherwise}: {found} and {wanted}")
