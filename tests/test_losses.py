"""The losses: each is its formula, written out here in plain loops; none learns from a masked token."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from students import untrained
from test_training import SHORT, full_rows, one_step

from agentdistill.config import read_config
from agentdistill.errors import ConfigError, UnknownNameError, UsageError
from agentdistill.losses import (
    READY,
    Loss,
    LossInputs,
    LossOutput,
    LossSpec,
    by_owner,
    dpo,
    forward_kl,
    jensen_shannon,
    load_loss,
    masked_cross_entropy,
    needs,
    needs_of,
    reverse_kl,
    reverse_kl_policy_gradient,
)
from agentdistill.testing.losses import check_loss, gradient, predicts, random_inputs
from agentdistill.training import Pool, Progress, train

OWN = Path(__file__).parent.parent / "examples" / "own_loss.py"
SPECS = [
    *(LossSpec(name=name) for name in READY),
    LossSpec(name="jensen_shannon", options={"beta": 0.1, "temperature": 2.0}),
    LossSpec(name="by_owner", options={"temperature": 0.7}),
    LossSpec(name="dpo", options={"length_normalised": True, "anchor": 1.0, "beta": 0.5}),
    LossSpec(name="dpo", options={"reference_free": True, "anchor": 0.3}),
    LossSpec(name="reverse_kl_policy_gradient", options={"clip_low": 0.1, "clip_high": 0.3, "temperature": 1.3}),
    LossSpec(name=f"{OWN}:focal", options={"gamma": 2.0}),
]
every_loss = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.name.split(':')[-1]} {spec.options or ''}")
seeds = st.integers(0, 2**31)


# ---- what every loss keeps to ----------------------------------------------------------------------------------------


@every_loss
def test_every_loss_passes_every_check(spec):
    checks = check_loss(load_loss(spec))
    assert [each for each in checks if each.status == "failed"] == []
    assert len(checks) == 10


@every_loss
@given(rows=st.integers(1, 3), length=st.integers(2, 8), vocabulary=st.integers(2, 6), seed=seeds)
@settings(max_examples=20, deadline=None)
def test_masked_tokens_get_exactly_no_gradient(spec, rows, length, vocabulary, seed):
    loss = load_loss(spec)
    inputs = random_inputs(loss, seed, rows=2 * rows, length=length, vocabulary=vocabulary)
    found = gradient(loss, inputs)
    assert (found[~predicts(inputs)] == 0).all()
    assert found.isfinite().all()


@every_loss
@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_a_micro_batch_in_which_nothing_carries_loss_is_nothing(spec, seed):
    loss = load_loss(spec)
    inputs = replace(random_inputs(loss, seed), normaliser=1.0)
    nothing = replace(inputs, loss_mask=torch.zeros_like(inputs.loss_mask))
    if inputs.paired:  # two ways that say nothing are equally good, wherever they lead
        assert (gradient(loss, nothing) == 0).all()
    else:
        assert loss(nothing).loss == 0


# ---- the checks find what they are for -------------------------------------------------------------------------------


def unmasked(inputs: LossInputs) -> LossOutput:
    return masked_cross_entropy(replace(inputs, loss_mask=torch.ones_like(inputs.loss_mask)))


def multiplied(inputs: LossInputs) -> LossOutput:
    """Multiplies by the mask: whatever stands at masked tokens leaks if it is not finite, and weights are left out."""
    scores = torch.log_softmax(inputs.logits[:, :-1], dim=-1).gather(-1, inputs.input_ids[:, 1:, None])[..., 0]
    return LossOutput(-(scores * inputs.loss_mask[:, 1:] * inputs.weights[:, 1:]).sum() / inputs.normaliser)


def averaged(inputs: LossInputs) -> LossOutput:
    return LossOutput(masked_cross_entropy(inputs).loss * inputs.normaliser / inputs.loss_mask[:, 1:].sum())


def unweighted(inputs: LossInputs) -> LossOutput:
    return masked_cross_entropy(replace(inputs, weights=torch.ones_like(inputs.weights)))


def half(inputs: LossInputs) -> LossOutput:
    return LossOutput(masked_cross_entropy(inputs).loss.to(inputs.logits.dtype))


def bare(inputs: LossInputs) -> Any:
    return masked_cross_entropy(inputs).loss


def shouting(inputs: LossInputs) -> LossOutput:
    return LossOutput(masked_cross_entropy(inputs).loss, {"loud": inputs.logits.detach().sum()})  # type: ignore[dict-item]


def writing(inputs: LossInputs) -> LossOutput:
    inputs.weights[:, 0] = 0
    return masked_cross_entropy(inputs)


def greedy(inputs: LossInputs) -> LossOutput:
    """Uses the teacher's logits without saying that it needs them."""
    assert inputs.teacher_logits is not None
    return masked_cross_entropy(inputs)


@pytest.mark.parametrize(
    ("loss", "check"),
    [
        (unmasked, "masked tokens get exactly no gradient"),
        (unmasked, "padding changes nothing"),
        (multiplied, "what stands at masked tokens does not matter"),
        (averaged, "micro batches add up"),
        (averaged, "it is divided by the normaliser"),
        (unweighted, "tokens of weight zero get no gradient"),
        (half, "half precision is summed in single"),
        (bare, "it says a finite scalar with a gradient"),
        (shouting, "its metrics are plain numbers"),
        (writing, "its inputs are left as they were"),
        (greedy, "it says a finite scalar with a gradient"),
    ],
)
def test_a_loss_that_does_it_wrong_fails_the_check_for_it(loss, check):
    (found,) = (each for each in check_loss(loss) if each.name == check)
    assert found.status == "failed"
    assert found.detail


# ---- the formulas, token by token ------------------------------------------------------------------------------------


def log_softmax(scores: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    scaled = scores / temperature
    return scaled - scaled.max() - math.log(sum(math.exp(x - scaled.max()) for x in scaled))


def tokens(inputs: LossInputs) -> list[tuple[int, int]]:
    """Row and column of each token that carries loss; the first column is predicted by nothing."""
    return [
        (r, t)
        for r in range(len(inputs.input_ids))
        for t in range(1, inputs.input_ids.shape[1])
        if inputs.loss_mask[r, t]
    ]


def summed(inputs: LossInputs, of_token: Callable[[np.ndarray, np.ndarray, int, int], float]) -> float:
    student = inputs.logits.detach().numpy()
    teacher = student if inputs.teacher_logits is None else inputs.teacher_logits.numpy()
    found = sum(
        inputs.weights[r, t].item() * of_token(student[r, t - 1], teacher[r, t - 1], r, t) for r, t in tokens(inputs)
    )
    return float(found) / inputs.normaliser


def kl(p: np.ndarray, q: np.ndarray) -> float:
    return sum(math.exp(a) * (a - b) for a, b in zip(p, q, strict=True))


def is_formula(loss: Loss, inputs: LossInputs, expected: float) -> None:
    assert loss(inputs).loss.item() == pytest.approx(expected, rel=1e-10, abs=1e-12)


@given(seeds)
def test_cross_entropy_is_its_formula(seed):
    inputs = random_inputs(masked_cross_entropy, seed)
    ids = inputs.input_ids
    is_formula(masked_cross_entropy, inputs, summed(inputs, lambda s, _, r, t: -log_softmax(s)[ids[r, t]]))


@given(seeds, st.sampled_from([0.5, 1.0, 3.0]))
def test_forward_and_reverse_kl_are_their_formulas(seed, temperature):
    inputs = random_inputs(forward_kl, seed)

    def forward(s: np.ndarray, p: np.ndarray, r: int, t: int) -> float:
        return kl(log_softmax(p, temperature), log_softmax(s, temperature))

    is_formula(functools.partial(forward_kl, temperature=temperature), inputs, summed(inputs, forward))
    backward = summed(inputs, lambda s, p, r, t: forward(p, s, r, t))
    is_formula(functools.partial(reverse_kl, temperature=temperature), inputs, backward)


@given(seeds, st.floats(0.01, 0.99))
def test_jensen_shannon_is_its_formula(seed, beta):
    inputs = random_inputs(jensen_shannon, seed)

    def each(s: np.ndarray, p: np.ndarray, r: int, t: int) -> float:
        teacher, student = log_softmax(p), log_softmax(s)
        mixture = np.log(beta * np.exp(teacher) + (1 - beta) * np.exp(student))
        return beta * kl(teacher, mixture) + (1 - beta) * kl(student, mixture)

    is_formula(functools.partial(jensen_shannon, beta=beta), inputs, summed(inputs, each))


@given(seeds)
def test_jensen_shannon_goes_to_forward_and_to_reverse_kl_at_its_ends(seed):
    inputs, tiny = random_inputs(jensen_shannon, seed), 1e-9
    forward, backward = forward_kl(inputs).loss.item(), reverse_kl(inputs).loss.item()
    low = jensen_shannon(inputs, beta=tiny).loss.item() / tiny
    high = jensen_shannon(inputs, beta=1 - tiny).loss.item() / tiny
    assert (low, high) == (pytest.approx(forward, rel=0.02), pytest.approx(backward, rel=0.02))


@given(seeds)
def test_jensen_shannon_is_symmetric_in_the_middle_and_at_most_ln_2(seed):
    inputs = random_inputs(jensen_shannon, seed)
    plain = replace(inputs, weights=torch.ones_like(inputs.weights))
    assert inputs.teacher_logits is not None
    swapped = replace(plain, logits=inputs.teacher_logits, teacher_logits=inputs.logits.detach())
    assert jensen_shannon(swapped).loss.item() == pytest.approx(jensen_shannon(plain).loss.item())
    assert 0 <= jensen_shannon(plain).loss.item() <= math.log(2)


@given(seeds)
def test_by_owner_is_forward_kl_on_the_teachers_tokens_and_reverse_kl_on_the_students(seed):
    inputs = random_inputs(by_owner, seed)

    def each(s: np.ndarray, p: np.ndarray, r: int, t: int) -> float:
        teacher, student = log_softmax(p), log_softmax(s)
        return kl(teacher, student) if inputs.by_teacher[r, t] else kl(student, teacher)

    is_formula(by_owner, inputs, summed(inputs, each))


@pytest.mark.parametrize("loss", [forward_kl, reverse_kl, jensen_shannon, by_owner])
def test_a_student_that_says_what_its_teacher_says_has_nothing_to_learn(loss):
    inputs = random_inputs(loss, 0)
    same = replace(inputs, teacher_logits=inputs.logits.detach() + 3.0)  # a constant changes no distribution
    assert loss(same).loss.item() == pytest.approx(0, abs=1e-12)
    assert gradient(loss, same).abs().max() < 1e-12


@pytest.mark.parametrize("loss", [forward_kl, jensen_shannon])
def test_a_token_that_the_teacher_rules_out_is_no_nan(loss):
    inputs = random_inputs(loss, 0)
    assert inputs.teacher_logits is not None
    barred = inputs.teacher_logits.clone()
    barred[..., 0] = -math.inf
    said = loss(replace(inputs, teacher_logits=barred))
    assert said.loss.isfinite()
    assert gradient(loss, replace(inputs, teacher_logits=barred)).isfinite().all()


@given(seeds, st.floats(0, 1), st.floats(0, 2), st.sampled_from([0.7, 1.0]))
def test_the_policy_gradient_is_its_formula(seed, low, high, temperature):
    inputs = random_inputs(reverse_kl_policy_gradient, seed)

    def each(s: np.ndarray, _: np.ndarray, r: int, t: int) -> float:
        now = log_softmax(s, temperature)[inputs.input_ids[r, t]]
        before = inputs.logprobs[r, t].item()
        advantage = inputs.teacher_logprobs[r, t].item() - before
        ratio = math.exp(now - before)
        return -min(ratio * advantage, min(max(ratio, 1 - low), 1 + high) * advantage)

    loss = functools.partial(reverse_kl_policy_gradient, clip_low=low, clip_high=high, temperature=temperature)
    is_formula(loss, inputs, summed(inputs, each))


@given(seeds, st.integers(2, 6))
def test_the_policy_gradient_is_that_of_reverse_kl_in_expectation(seed, vocabulary):
    """One row for each token of the vocabulary, as likely as the student is to sample it: no noise of sampling."""
    luck = np.random.default_rng(seed)
    student = torch.tensor(luck.normal(size=vocabulary) * 2)
    teacher = torch.tensor(luck.normal(size=vocabulary) * 2)
    ln_q, ln_p = student.log_softmax(-1), teacher.log_softmax(-1)
    ids = torch.tensor([[0, token] for token in range(vocabulary)])
    first = torch.zeros(vocabulary, 1, dtype=torch.float64)
    mask = torch.tensor([[False, True]]).expand(vocabulary, 2)

    def inputs(logits: torch.Tensor, **more: Any) -> LossInputs:
        whole = logits.expand(len(more["input_ids"]), 2, vocabulary)
        unknown = torch.full(more["input_ids"].shape, math.nan, dtype=torch.float64)
        rest: dict[str, Any] = {"logprobs": unknown, "teacher_logprobs": unknown, "by_teacher": unknown > 0}
        return LossInputs(whole, normaliser=1.0, **{**rest, **more})

    leaf = student.clone().requires_grad_()
    sampled = inputs(
        leaf,
        input_ids=ids,
        loss_mask=mask,
        weights=torch.cat([first, ln_q.exp()[:, None]], dim=1),
        logprobs=torch.cat([first, ln_q[:, None]], dim=1),
        teacher_logprobs=torch.cat([first, ln_p[:, None]], dim=1),
    )
    reverse_kl_policy_gradient(sampled).loss.backward()
    dense = student.clone().requires_grad_()
    whole = inputs(
        dense,
        input_ids=ids[:1],
        loss_mask=mask[:1],
        weights=torch.ones(1, 2, dtype=torch.float64),
        teacher_logits=teacher.expand(1, 2, vocabulary),
    )
    reverse_kl(whole).loss.backward()
    assert leaf.grad is not None
    assert dense.grad is not None
    assert torch.allclose(leaf.grad, dense.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("drift", "moves"), [(0.0, True), (2.0, False), (-2.0, False)])
def test_a_token_that_has_moved_as_far_as_it_should_is_clipped(drift, moves):
    """Likelier by far than when it was sampled and better for it, or the reverse: nothing more is learnt from it."""
    inputs = random_inputs(reverse_kl_policy_gradient, 3)
    now = torch.log_softmax(inputs.logits.detach()[:, :-1], dim=-1).gather(-1, inputs.input_ids[:, 1:, None])[..., 0]
    before = torch.nn.functional.pad(now - drift, (1, 0))
    better = before + (1.0 if drift >= 0 else -1.0)
    found = gradient(reverse_kl_policy_gradient, replace(inputs, logprobs=before, teacher_logprobs=better))
    assert bool((found != 0).any()) == moves


@pytest.mark.parametrize("name", ["logprobs", "teacher_logprobs"])
def test_a_token_whose_log_probability_is_not_known_is_refused_not_left_out(name):
    inputs = random_inputs(reverse_kl_policy_gradient, 0)
    r, t = tokens(inputs)[0]
    values = getattr(inputs, name).clone()
    values[r, t] = math.nan
    with pytest.raises(UsageError, match="1 tokens carry loss and have no log-probability"):
        reverse_kl_policy_gradient(replace(inputs, **{name: values}))


def dense_dpo(inputs: LossInputs, beta: float, normalised: bool, free: bool, anchor: float) -> float:
    student = inputs.logits.detach().numpy()
    total = 0.0
    for pair in range(len(student) // 2):
        scores, said = [], []
        for r in (2 * pair, 2 * pair + 1):
            own = [t for row, t in tokens(inputs) if row == r]
            now = [log_softmax(student[r, t - 1])[inputs.input_ids[r, t]] for t in own]
            reference = [
                0.0 if free or inputs.reference_logprobs is None else inputs.reference_logprobs[r, t].item()
                for t in own
            ]
            weights = [inputs.weights[r, t].item() for t in own]
            score = sum(w * (a - b) for w, a, b in zip(weights, now, reference, strict=True))
            scores.append(score / len(own) if normalised else score)
            said.append(sum(w * a for w, a in zip(weights, now, strict=True)) / len(own))
        margin = beta * (scores[0] - scores[1])
        total += math.log1p(math.exp(-margin)) if margin > -700 else -margin
        total -= anchor * said[0]
    return total / inputs.normaliser


@given(seeds, st.floats(0.01, 2), st.booleans(), st.booleans(), st.sampled_from([0.0, 0.3, 2.0]))
def test_dpo_and_its_gradient_are_its_formula(seed, beta, normalised, free, anchor):
    inputs = random_inputs(dpo, seed, rows=4, length=5, vocabulary=3)
    loss = functools.partial(dpo, beta=beta, length_normalised=normalised, reference_free=free, anchor=anchor)
    is_formula(loss, inputs, dense_dpo(inputs, beta, normalised, free, anchor))
    found, step = gradient(loss, inputs), 1e-5
    luck = np.random.default_rng(seed)
    for _ in range(6):
        at = tuple(int(luck.integers(size)) for size in inputs.logits.shape)
        nudged = []
        for sign in (1, -1):
            logits = inputs.logits.detach().clone()
            logits[at] += sign * step
            nudged.append(dense_dpo(replace(inputs, logits=logits), beta, normalised, free, anchor))
        assert found[at].item() == pytest.approx((nudged[0] - nudged[1]) / (2 * step), rel=1e-4, abs=1e-7)


def test_dpo_refuses_rows_that_are_no_pairs():
    with pytest.raises(UsageError, match="preference pairs"):
        dpo(replace(random_inputs(dpo, 0), paired=False))


# ---- naming a loss ---------------------------------------------------------------------------------------------------


class Settings(BaseModel):
    """A config with a loss in it, as a run's may be."""

    loss: LossSpec = LossSpec()


def read(tmp_path: Path, text: str) -> LossSpec:
    (tmp_path / "config.toml").write_text(text)
    return read_config(tmp_path / "config.toml", [], Settings).loss


def test_a_config_names_a_loss_by_a_word_or_with_options(tmp_path):
    assert load_loss(read(tmp_path, "")) is masked_cross_entropy
    assert load_loss(read(tmp_path, 'loss = "forward_kl"')) is forward_kl
    found = load_loss(read(tmp_path, 'loss = {name = "jensen_shannon", options = {beta = 0.1}}'))
    inputs = random_inputs(found, 0)
    assert found(inputs).loss == jensen_shannon(inputs, beta=0.1).loss
    again = LossSpec.model_validate(read(tmp_path, 'loss = "dpo"').model_dump(mode="json"))
    assert again == LossSpec(name="dpo")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('loss = "foward_kl"', "there is no loss 'foward_kl'. Did you mean 'forward_kl'?"),
        ('loss = {name = "dpo", options = {bta = 1.0}}', "the loss dpo has no option 'bta'. Did you mean 'beta'?"),
        (
            'loss = {name = "jensen_shannon", options = {beta = 1.0}}',
            "jensen_shannon: beta: input should be less than 1",
        ),
        ('loss = {name = "dpo", options = {beta = "steep"}}', "dpo: beta: input should be a valid number"),
        ('loss = {name = "dpo", options = {inputs = 1}}', "the loss dpo has no option 'inputs'"),
        ('loss = {nam = "dpo"}', "there is no key 'loss.nam'. Did you mean 'name'?"),
        ('loss = "agentdistill.losses:reverse_kll"', "has no 'reverse_kll'. Did you mean 'reverse_kl'?"),
        ('loss = "agentdistill.losses:LossInputs"', "is a type, not a function of LossInputs"),
        ('loss = "no_such_module:mine"', "there is no module 'no_such_module'"),
        ('loss = "no/such/file.py:mine"', "there is no file 'no/such/file.py'"),
    ],
)
def test_a_wrong_loss_is_told_in_one_line_when_the_config_is_read(tmp_path, text, told):
    with pytest.raises((ConfigError, UnknownNameError, UsageError)) as caught:
        read(tmp_path, text)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_loss_says_what_it_needs_and_one_that_says_nothing_needs_nothing():
    assert needs_of(masked_cross_entropy) == frozenset()
    assert needs_of(functools.partial(jensen_shannon, beta=0.1)) == {"teacher_logits"}
    assert needs_of(dpo) == {"pairs", "reference_logprobs"}
    assert needs_of(functools.partial(dpo, reference_free=True)) == {"pairs"}
    assert needs_of(functools.partial(dpo, reference_free=False)) == {"pairs", "reference_logprobs"}


def test_a_loss_that_needs_what_there_is_not_is_told_with_the_nearest_name(tmp_path):
    (tmp_path / "mine.py").write_text("def mine(inputs): ...\nmine.needs = {'teacher_logit'}\n")
    with pytest.raises(UsageError, match=r"the loss mine needs 'teacher_logit'\. Did you mean 'teacher_logits'"):
        LossSpec(name=f"{tmp_path / 'mine.py'}:mine")


# ---- a loss of one's own ---------------------------------------------------------------------------------------------


def test_the_shipped_loss_of_ones_own_is_cross_entropy_at_gamma_0():
    inputs = random_inputs(masked_cross_entropy, 0)
    focal = load_loss(LossSpec(name=f"{OWN}:focal", options={"gamma": 0}))
    assert focal(inputs).loss.item() == pytest.approx(masked_cross_entropy(inputs).loss.item(), rel=1e-6)


def test_a_student_learns_by_a_loss_of_ones_own_that_a_config_names(tmp_path):
    spec = read(tmp_path, f'loss = {{name = "{OWN}:focal", options = {{gamma = 2.0}}}}')
    seen: list[Progress] = []
    config = SHORT.model_copy(update={"steps": 15})
    train(untrained(), [Pool(full_rows(5), 1.0, load_loss(spec))], config, 0, seen.append)
    assert seen[-1].loss < 0.8 * seen[0].loss
    assert 0 <= seen[-1].metrics["focal/likely"] <= 1


def test_a_loss_of_ones_own_is_given_what_it_says_it_needs():
    heard: list[LossInputs] = []

    @needs("teacher_logits", "reference_logprobs")
    def mine(inputs: LossInputs) -> LossOutput:
        heard.append(inputs)
        return masked_cross_entropy(inputs)

    one_step([Pool(full_rows(4), 1.0, mine)], 10_000)
    assert heard
    assert all(each.teacher_logits is not None and each.reference_logprobs is not None for each in heard)
