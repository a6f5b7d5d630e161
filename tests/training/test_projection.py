"""The loss and its gradients by chunks and formulas are those of the dense computation, for every loss."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import VOCABULARY, pairs, rows_for, tree

from agentdistill.losses import READY, Loss, LossInputs, LossOutput, LossSpec, load_loss, needs, needs_of
from agentdistill.losses.base import instead_of
from agentdistill.testing.losses import random_inputs
from agentdistill.training import projection
from agentdistill.training.packing import Batch, micro_batches
from agentdistill.training.projection import Head, Work, from_logits, project

WIDTH = 16


def squared(inputs: LossInputs) -> LossOutput:
    """A user's loss, which says nothing of itself: its rows' mean surprise, squared, so that a row may not be cut."""
    wanted = inputs.loss_mask[:, 1:]
    scores = torch.log_softmax(inputs.logits[:, :-1], dim=-1).gather(-1, inputs.input_ids[:, 1:, None])[..., 0]
    rows = torch.where(wanted, scores, 0.0).sum(dim=1) / wanted.sum(dim=1).clamp_min(1)
    return LossOutput((rows**2).sum() / inputs.normaliser, {"rows": len(rows) / inputs.normaliser})


@needs("teacher_logits", "reference_logprobs")
def curious(inputs: LossInputs) -> LossOutput:
    """A user's loss that wants all there is."""
    assert inputs.teacher_logits is not None
    assert inputs.reference_logprobs is not None
    wanted = inputs.loss_mask[:, 1:]
    gap = (inputs.logits[:, :-1] - inputs.teacher_logits[:, :-1])[wanted].square().mean(dim=-1)
    each = gap * inputs.reference_logprobs[:, 1:][wanted].exp() * inputs.weights[:, 1:][wanted]
    return LossOutput(each.sum() / inputs.normaliser)


def spec(name: str, **options: Any) -> Loss:
    return load_loss(LossSpec(name=name, options=options))


LOSSES: dict[str, Loss] = {
    **{name: load_loss(LossSpec(name=name)) for name in READY},
    "forward_kl, warm": spec("forward_kl", temperature=2.0),
    "reverse_kl, cold": spec("reverse_kl", temperature=0.7),
    "jensen_shannon, lopsided": spec("jensen_shannon", beta=0.1, temperature=1.3),
    "dpo, all of it": spec("dpo", length_normalised=True, anchor=0.5, beta=0.3),
    "dpo, free": spec("dpo", reference_free=True, anchor=1.0),
    "focal": spec("examples/own_loss.py:focal", gamma=2.0),
    "squared": squared,
    "curious": curious,
}


def setting(loss: Loss, seed: int, *, sparse: bool = False, bias: bool = False) -> tuple[Batch, dict[str, Any]]:
    """A batch, and random hidden states, heads and references for it."""
    luck = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=luck)

    torch.set_default_dtype(torch.float64)
    try:
        (batch,) = micro_batches(rows_for(loss, 5, seed), 10**6)
    finally:
        torch.set_default_dtype(torch.float32)
    count = len(batch.said)
    parts: dict[str, Any] = {
        "hidden": random(count, WIDTH).requires_grad_(),
        "weight": random(VOCABULARY, WIDTH).requires_grad_(),
        "bias": random(VOCABULARY).requires_grad_() if bias else None,
        "teacher": None if sparse else random(count, VOCABULARY),
        "reference": -random(count).abs(),
    }
    return batch, parts


def dense(batch: Batch, loss: Loss, normaliser: float, parts: dict[str, Any]) -> LossOutput:
    """The loss as its definition has it: whole rows of dense logits, garbage where nothing carries loss."""
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row.input_ids) for row in batch.rows], batch_first=True)
    masks = torch.nn.utils.rnn.pad_sequence([torch.tensor(row.loss_mask) for row in batch.rows], batch_first=True)
    masks[:, 0] = False
    place = masks.nonzero(as_tuple=True)
    projected = torch.nn.functional.linear(parts["hidden"], parts["weight"], parts["bias"])

    def laid(values: torch.Tensor, empty: float, shift: int = 0) -> torch.Tensor:
        whole = torch.full((*ids.shape, *values.shape[1:]), empty, dtype=values.dtype)
        return whole.index_put((place[0], place[1] - shift), values)

    wanted, teacher = needs_of(loss), parts["teacher"]
    known = teacher is not None and "teacher_logits" in wanted
    assert batch.top_ids is not None
    assert batch.top_logprobs is not None
    return loss(
        LossInputs(
            logits=laid(projected, 3.0, 1),
            input_ids=ids,
            loss_mask=masks,
            normaliser=normaliser,
            weights=laid(batch.weights, 1.0),
            logprobs=laid(batch.logprobs, math.nan),
            teacher_logprobs=laid(batch.teacher_logprobs, math.nan),
            by_teacher=laid(batch.by_teacher, False),
            teacher_logits=laid(teacher, 0.0, 1) if known else None,
            teacher_top_ids=None if known else laid(batch.top_ids, 0),
            teacher_top_logprobs=None if known else laid(batch.top_logprobs, math.nan),
            reference_logprobs=laid(parts["reference"], math.nan) if "reference_logprobs" in wanted else None,
            paired=batch.paired,
        )
    )


def work(batch: Batch, loss: Loss, normaliser: float, parts: dict[str, Any]) -> Work:
    teacher = parts["teacher"]
    if "reference_logprobs" in needs_of(loss):
        batch = replace(batch, reference=parts["reference"])
    asked = teacher is not None and "teacher_logits" in needs_of(loss)
    return Work(batch, loss, normaliser, (lambda some: teacher[some].clone()) if asked else None)


def same(found: LossOutput, wanted: LossOutput, leaves: list[torch.Tensor]) -> None:
    assert found.loss.item() == pytest.approx(wanted.loss.item(), rel=1e-10, abs=1e-12)
    assert dict(found.metrics) == pytest.approx(dict(wanted.metrics), rel=1e-9)
    for one, other in zip(
        torch.autograd.grad(found.loss, leaves), torch.autograd.grad(wanted.loss, leaves), strict=True
    ):
        assert torch.allclose(one, other, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("name", LOSSES)
@given(
    seed=st.integers(0, 999),
    chunk=st.sampled_from([1, 5 * 4 * VOCABULARY, 2**25]),
    cache=st.sampled_from([1, 3 * 4 * VOCABULARY, 2**21]),
    bias=st.booleans(),
)
@settings(max_examples=12)
def test_loss_and_gradients_are_those_of_the_dense_computation(name, seed, chunk, cache, bias):
    loss = LOSSES[name]
    batch, parts = setting(loss, seed, bias=bias)
    leaves = [each for each in (parts["hidden"], parts["weight"], parts["bias"]) if each is not None]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(projection, "_most", lambda vocabulary: max(1, chunk // (4 * vocabulary)))
        patch.setattr(projection, "CACHE_BYTES", cache)
        found = project(parts["hidden"], Head(parts["weight"], parts["bias"]), work(batch, loss, 7.0, parts))
    same(found, dense(batch, loss, 7.0, parts), leaves)


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if instead_of(loss)])
@given(seed=st.integers(0, 999))
@settings(max_examples=12)
def test_the_same_holds_where_only_the_teachers_likeliest_tokens_are_known(name, seed):
    loss = LOSSES[name]
    if getattr(loss, "keywords", {}).get("temperature", 1.0) != 1.0:
        pytest.skip("the rest of the distribution is not known at another temperature, and this is refused")
    batch, parts = setting(loss, seed, sparse=True)
    leaves = [parts["hidden"], parts["weight"]]
    found = project(parts["hidden"], Head(parts["weight"]), work(batch, loss, 7.0, parts))
    same(found, dense(batch, loss, 7.0, parts), leaves)


@pytest.mark.parametrize("name", LOSSES)
def test_logits_that_a_model_makes_itself_come_to_the_same(name):
    loss = LOSSES[name]
    batch, parts = setting(loss, 3)
    logits = torch.nn.functional.linear(parts["hidden"], parts["weight"])
    same(from_logits(logits, work(batch, loss, 7.0, parts)), dense(batch, loss, 7.0, parts), [parts["hidden"]])


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl", "jensen_shannon", "by_owner"])
@given(seed=st.integers(0, 999))
@settings(max_examples=20)
def test_a_few_likely_tokens_are_never_farther_apart_than_the_whole_and_all_but_one_are_as_far(name, seed):
    loss = READY[name]
    whole = random_inputs(loss, seed, vocabulary=9)
    assert whole.teacher_logits is not None
    told = whole.teacher_logits.roll(1, dims=1).log_softmax(dim=-1)  # what is told of a token is what predicts it
    far = loss(whole).loss.item()
    for k in (1, 4, 8):
        logprobs, ids = told.topk(k, dim=-1)
        few = replace(whole, teacher_logits=None, teacher_top_ids=ids, teacher_top_logprobs=logprobs)
        near = loss(few).loss.item()
        assert near <= far + 1e-6
        # What is left has a floor, since log-probabilities in single precision do not tell it from nothing.
        if k == 8 and (1 - logprobs.exp().sum(dim=-1)).min() > 1e-6:
            assert near == pytest.approx(far, rel=1e-6, abs=1e-9)


def test_the_largest_tensor_does_not_grow_with_what_carries_loss():
    loss, asked = LOSSES["reverse_kl"], []

    def largest(count: int) -> int:
        (batch,) = micro_batches(tree(count, tail=40), 10**6)
        asked.clear()
        wanted = Work(batch, loss, 1.0, lambda some: made(some))

        def made(some: slice) -> torch.Tensor:
            asked.append(some.stop - some.start)
            return torch.randn(some.stop - some.start, VOCABULARY)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(projection, "_most", lambda vocabulary: 64)
            project(
                torch.randn(len(batch.said), WIDTH, requires_grad=True), Head(torch.randn(VOCABULARY, WIDTH)), wanted
            )
        assert sum(asked) == len(batch.said)
        return max(asked)

    assert largest(10) <= 64
    assert largest(100) <= 64


def test_a_frozen_head_gets_no_gradient_and_the_states_do():
    batch, parts = setting(LOSSES["forward_kl"], 1)
    weight = parts["weight"].detach()
    said = project(parts["hidden"], Head(weight), work(batch, LOSSES["forward_kl"], 1.0, parts))
    said.loss.backward()  # type: ignore[no-untyped-call]
    assert weight.grad is None
    assert parts["hidden"].grad.abs().sum() > 0


def test_what_comes_from_above_multiplies_the_gradient():
    loss = LOSSES["masked_cross_entropy"]
    batch, parts = setting(loss, 2)
    gradients: list[torch.Tensor] = []
    for factor in (1.0, -3.0):
        said = project(parts["hidden"], Head(parts["weight"]), work(batch, loss, 1.0, parts))
        gradients.append(torch.autograd.grad(said.loss * factor, parts["hidden"])[0])
    assert torch.allclose(gradients[1], -3 * gradients[0])


@pytest.mark.parametrize("name", ["masked_cross_entropy", "squared"])
def test_gradients_in_half_precision_are_not_lost_where_a_step_has_many_tokens(name):
    """What comes from above scales them, and comes last."""
    batch, parts = setting(LOSSES[name], 2)
    found = []
    for half in (False, True):
        hidden, weight = (parts[each].detach().float().requires_grad_() for each in ("hidden", "weight"))
        with torch.autocast("cpu", torch.float16, enabled=half):
            said = project(hidden, Head(weight), work(batch, LOSSES[name], 1e7, parts))
            logits = torch.nn.functional.linear(hidden, weight)
            own = from_logits(logits, work(batch, LOSSES[name], 1e7, parts))
        found.append(
            [grad for each in (said, own) for grad in torch.autograd.grad(each.loss * 65536, (hidden, weight))]
        )
    for one, other in zip(*found, strict=True):
        assert (one - other).abs().max() < 0.02 * one.abs().max()


def test_a_teacher_that_could_be_trained_gives_a_loss_no_gradient():
    asked = []

    @needs("teacher_logits")
    def asking(inputs: LossInputs) -> LossOutput:
        assert inputs.teacher_logits is not None
        asked.append(inputs.teacher_logits.requires_grad)
        return LossOutput(inputs.logits.sum())

    batch, parts = setting(asking, 1)
    teacher = Head(parts["weight"]).logits_of(parts["hidden"].detach())
    project(parts["hidden"], Head(parts["weight"]), Work(batch, asking, 1.0, teacher))
    assert asked == [False]


def test_pairs_stay_together_in_a_chunk():
    seen: list[int] = []

    @needs("pairs")
    def paired(inputs: LossInputs) -> LossOutput:
        seen.append(len(inputs.input_ids))
        return LossOutput(inputs.logits.sum() * 0)

    (batch,) = micro_batches(pairs(6), 10**6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(projection, "_most", lambda vocabulary: 1)
        project(
            torch.randn(len(batch.said), WIDTH, requires_grad=True),
            Head(torch.randn(VOCABULARY, WIDTH)),
            Work(batch, paired, 6.0),
        )
    assert seen == [2] * 6
