"""The trainer: its loss is the formula, whatever the padding and the micro-batches; checkpoints are whole."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from students import clean_segments, depot_tokenizer, untrained
from transformers import AutoModelForCausalLM, AutoTokenizer

from agentdistill.errors import NothingSupervisedError
from agentdistill.losses import masked_cross_entropy
from agentdistill.records import Segment
from agentdistill.training import (
    MARKER,
    Pool,
    Progress,
    TrainingConfig,
    checkpoint_facts,
    micro_batches,
    save_checkpoint,
    train,
)

SHORT = TrainingConfig(steps=4, tokens_per_step=150, learning_rate=1e-2)


def row(length: int, supervised: int, name: str = "row", seed: int = 0) -> Segment:
    """A segment of random ids whose last tokens carry loss."""
    ids = np.random.default_rng(seed).integers(0, 100, length).tolist()
    mask = [False] * (length - supervised) + [True] * supervised
    return Segment(id=name, kind="clean", trajectory_id=name, input_ids=tuple(ids), loss_mask=tuple(mask))


def rows(count: int = 6, seed: int = 0) -> list[Segment]:
    luck = np.random.default_rng(seed)
    made = []
    for number in range(count):
        length = int(luck.integers(3, 40))
        made.append(row(length, int(luck.integers(1, length)), str(number), int(luck.integers(1000))))
    return made


@contextmanager
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def dense_formula(logits: np.ndarray, ids: np.ndarray, mask: np.ndarray, normaliser: float) -> float:
    """The definition, token by token: minus log softmax of the token that came, where it carries loss."""
    total = 0.0
    for r in range(ids.shape[0]):
        for t in range(1, ids.shape[1]):
            if mask[r, t]:
                scores = logits[r, t - 1]
                total += math.log(sum(math.exp(x - scores.max()) for x in scores)) + scores.max() - scores[ids[r, t]]
    return total / normaliser


shapes = st.tuples(st.integers(1, 3), st.integers(2, 8), st.integers(2, 6), st.integers(0, 2**31))


def batch_of(shape: tuple[int, int, int, int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    count, length, vocabulary, seed = shape
    luck = np.random.default_rng(seed)
    logits = torch.tensor(luck.normal(size=(count, length, vocabulary)) * 5, requires_grad=True)
    ids = torch.tensor(luck.integers(0, vocabulary, (count, length)))
    mask = torch.tensor(luck.random((count, length)) < 0.4)
    mask[0, -1] = True
    return logits, ids, mask


@given(shapes)
def test_the_loss_is_the_formula(shape):
    logits, ids, mask = batch_of(shape)
    expected = dense_formula(logits.detach().numpy(), ids.numpy(), mask.numpy(), 7.0)
    assert masked_cross_entropy(logits, ids, mask, 7.0).item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


@given(shapes)
def test_masked_tokens_get_exactly_no_gradient(shape):
    logits, ids, mask = batch_of(shape)
    masked_cross_entropy(logits, ids, mask, 1.0).backward()
    assert logits.grad is not None
    predicts = torch.zeros_like(mask)
    predicts[:, :-1] = mask[:, 1:]
    assert (logits.grad[~predicts] == 0).all()
    assert (logits.grad[predicts] != 0).any(dim=-1).all()


@given(shapes, st.floats(-1e30, 1e30))
def test_whatever_stands_at_masked_positions_the_loss_is_the_same(shape, value):
    logits, ids, mask = batch_of(shape)
    predicts = torch.zeros_like(mask)
    predicts[:, :-1] = mask[:, 1:]
    other = logits.detach().clone()
    other[~predicts] = value
    ids_too = ids.clone()
    ids_too[:, 1:][~mask[:, 1:]] = 0
    assert masked_cross_entropy(other, ids_too, mask, 3.0) == masked_cross_entropy(logits, ids, mask, 3.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_summed_in_single_precision(dtype):
    logits, ids, mask = batch_of((2, 6, 5, 1))
    assert masked_cross_entropy(logits.to(dtype), ids, mask, 1.0).dtype == torch.float32


def gradients(made: Sequence[Segment], most_tokens: int) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of one step as the trainer adds them up."""
    with double():
        model = untrained().double()
    supervised = sum(each.supervised for each in made)
    loss = 0.0
    for ids, mask in micro_batches(made, most_tokens):
        part = masked_cross_entropy(model(input_ids=ids, use_cache=False).logits, ids, mask, supervised)
        part.backward()
        loss += part.item()
    return loss, {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


def test_padding_and_micro_batches_change_neither_loss_nor_gradients():
    made = rows()
    # One row at a time: no padding, no company.
    alone_loss, alone = gradients(made, 1)
    for most_tokens in (60, 10_000):
        loss, found = gradients(made, most_tokens)
        assert loss == pytest.approx(alone_loss, rel=1e-9)
        assert found.keys() == alone.keys()
        for name, value in found.items():
            assert torch.allclose(value, alone[name], rtol=1e-6, atol=1e-9), name


@given(st.integers(0, 2**31), st.integers(1, 200))
@settings(max_examples=30)
def test_micro_batches_hold_every_row_once_and_no_more_cells_than_allowed(seed, most_tokens):
    made = rows(7, seed)
    batches = micro_batches(made, most_tokens)
    found = []
    for ids, mask in batches:
        assert ids.shape == mask.shape
        assert ids.numel() <= most_tokens or len(ids) == 1
        for index in range(len(ids)):
            length = int(mask[index].nonzero().max()) + 1  # here every row ends with a token that carries loss
            found.append((tuple(ids[index, :length].tolist()), tuple(mask[index, :length].tolist())))
    assert sorted(found) == sorted((each.input_ids, each.loss_mask) for each in made)


def parameters(config: TrainingConfig, seed: int, **settings: Any) -> dict[str, torch.Tensor]:
    with double():
        model = untrained().double()
    train(model, [Pool(rows(20), 1.0)], config, seed, **settings)
    return {name: value.detach() for name, value in model.named_parameters()}


def test_the_size_of_micro_batches_does_not_change_the_student():
    one, other = (parameters(SHORT.model_copy(update={"micro_batch_tokens": n}), 0) for n in (1, 8192))
    assert all(torch.allclose(one[name], other[name], rtol=0, atol=1e-6) for name in one)


def test_the_same_seed_is_the_same_student_and_another_is_another():
    one, again, other = parameters(SHORT, 0), parameters(SHORT, 0), parameters(SHORT, 1)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_training_moves_the_loss_down_along_the_schedule():
    seen: list[Progress] = []
    config = TrainingConfig(steps=30, tokens_per_step=200, learning_rate=1e-2, warmup=0.1, final_rate=0.1)
    total = train(untrained(), [Pool(clean_segments(), 1.0)], config, 0, seen.append)
    assert [each.step for each in seen] == list(range(1, 31))
    assert seen[-1].loss < seen[0].loss / 2
    rates = [each.learning_rate for each in seen]
    assert max(rates) == rates[2] == pytest.approx(1e-2)
    assert rates[:3] == sorted(rates[:3])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert 1e-3 <= rates[-1] < 1.2e-3
    assert sum(each.supervised_tokens for each in seen) == total
    assert total == pytest.approx(30 * 200, rel=0.1)


class Fed:
    """A model that notes which rows it is trained on."""

    def __init__(self) -> None:
        self.model = untrained()
        self.rows: list[tuple[int, ...]] = []
        self.model.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, module: Any, arguments: Any, named: dict[str, Any]) -> None:
        self.rows += [tuple(each) for each in named["input_ids"].tolist()]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_pools_are_mixed_by_supervised_tokens_however_long_their_rows_are(share):
    many, few = [row(30, 3, f"a{n}", n) for n in range(9)], [row(30, 20, f"b{n}", 50 + n) for n in range(4)]
    fed = Fed()
    config = TrainingConfig(steps=20, tokens_per_step=100)
    train(fed.model, [Pool(many, share), Pool(few, 1 - share)], config, 0)
    of_many = {each.input_ids for each in many}
    tokens = sum(3 for each in fed.rows if each in of_many)
    other = sum(20 for each in fed.rows if each not in of_many)
    assert tokens / (tokens + other) == pytest.approx(share, abs=0.02)


def test_every_row_of_a_pool_is_used_before_any_is_used_again():
    made = [row(10, 5, str(n), n) for n in range(8)]
    fed = Fed()
    train(fed.model, [Pool(made, 1.0)], TrainingConfig(steps=6, tokens_per_step=20), 0)
    counts = [fed.rows.count(each.input_ids) for each in made]
    assert set(counts) == {3}


@pytest.mark.parametrize("bad", [[], [row(5, 0)], [row(5, 2), row(5, 0)]])
def test_a_pool_with_nothing_to_learn_from_is_refused(bad):
    with pytest.raises(NothingSupervisedError):
        train(untrained(), [Pool([row(5, 2)], 0.5), Pool(bad, 0.5)], SHORT, 0)


def test_a_checkpoint_loads_with_the_auto_classes_and_says_what_was_said_of_it(tmp_path):
    model, folder = untrained(), tmp_path / "student"
    save_checkpoint(model, depot_tokenizer(), folder, {"optimiser_steps": 3})
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert checkpoint_facts(folder) == {"optimiser_steps": 3}
    assert list(folder.glob("*.safetensors"))
    assert not list(folder.glob("*.bin"))
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name])
    chat = [{"role": "user", "content": "ship: bolt red"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == depot_tokenizer().apply_chat_template(
        chat, tokenize=False
    )
    assert tokenizer.encode("took bolt") == depot_tokenizer().encode("took bolt")


def test_a_checkpoint_without_its_marker_is_not_there(tmp_path):
    folder = tmp_path / "student"
    assert checkpoint_facts(folder) is None
    save_checkpoint(untrained(), depot_tokenizer(), folder, {})
    assert checkpoint_facts(folder) == {}
    (folder / MARKER).write_text('{"half')
    assert checkpoint_facts(folder) is None
    (folder / MARKER).unlink()
    assert checkpoint_facts(folder) is None


def test_a_checkpoint_replaces_another_and_what_a_kill_left(tmp_path):
    folder, partial = tmp_path / "student", tmp_path / "student.partial"
    partial.mkdir()
    (partial / "model.safetensors").write_bytes(b"torn")
    save_checkpoint(untrained(0), depot_tokenizer(), folder, {"n": 1})
    save_checkpoint(untrained(1), depot_tokenizer(), folder, {"n": 2})
    assert checkpoint_facts(folder) == {"n": 2}
    assert json.loads((folder / MARKER).read_text()) == {"n": 2}
    assert not partial.exists()
    loaded = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in untrained(1).state_dict().items())
