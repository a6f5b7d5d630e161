"""A training that was stopped anywhere goes on to the student it would have come to; adapters, averages and all."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from rows import VOCABULARY, pairs, tree
from transformers import AutoModelForCausalLM

from agentdistill.errors import UsageError
from agentdistill.losses import LossSpec, load_loss
from agentdistill.policies.tiny import TinyConfig, make_tokenizer
from agentdistill.training import LoraConfig, Pool, Progress, TrainingConfig, save_checkpoint, train
from agentdistill.training.optimising import rate_at

CONFIG = TrainingConfig(steps=7, tokens_per_step=40, learning_rate=1e-2, save_every=2)
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "adapters": {"lora": LoraConfig(rank=2, alpha=8, dropout=0.1)},
    "average": {"ema": 0.8},
    "constant rate, activations computed twice": {"schedule": "constant", "gradient_checkpointing": True},
    "half precision": {"precision": "bfloat16"},
    "scaled half precision": {"precision": "float16"},
}


class Stopped(Exception):
    pass


def small(seed: int = 0, dropout: float = 0.0) -> Any:
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        attention_dropout=dropout,
        bos_token_id=1,
        eos_token_id=2,
    )
    return transformers.LlamaForCausalLM(config)


def run(
    config: TrainingConfig, state: Path | None = None, stop: int = 0, dropout: float = 0.0
) -> tuple[Any, list[Progress]]:
    model, seen = small(dropout=dropout), []

    def on_step(progress: Progress) -> None:
        seen.append(progress)
        if progress.step == stop:
            raise Stopped

    pools = [Pool(tree(9, 1), 0.6), Pool(pairs(4, 2), 0.4, load_loss(LossSpec(name="dpo")))]
    with suppress(Stopped):
        train(model, pools, config, 5, on_step, state=state)
    return model, seen


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("stop", [1, 4, 5])
def test_a_training_that_was_stopped_comes_to_the_student_it_would_have_come_to(tmp_path, monkeypatch, name, stop):
    # The scale of float16 is too large at first: steps are passed over until it is not.
    monkeypatch.setattr(torch.amp, "GradScaler", partial(torch.amp.GradScaler, init_scale=2.0**23))
    config = CONFIG.model_copy(update=SETTINGS[name])
    whole, told = run(config, dropout=0.1)
    state = tmp_path / "state"
    run(config, state, stop, dropout=0.1)
    resumed, rest = run(config, state, dropout=0.1)
    first = (stop - 1) - (stop - 1) % config.save_every  # it is told of a step before that is written down
    assert [each.step for each in rest] == list(range(first + 1, config.steps + 1))
    assert repr(rest) == repr(told[first:])  # a norm may be NaN, where a step was passed over
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
    assert list(tmp_path.iterdir()) == [state]


def test_what_another_training_has_left_is_not_gone_on_with(tmp_path):
    state = tmp_path / "state"
    run(CONFIG, state, stop=5)
    _, seen = run(CONFIG.model_copy(update={"learning_rate": 2e-2}), state)
    assert seen[0].step == 1


def test_where_a_training_was_goes_when_its_student_is_there_and_not_before(tmp_path, monkeypatch):
    state, kept = tmp_path / "state", tmp_path / "kept"
    model, _ = run(CONFIG, state)
    tokenizer = make_tokenizer(["nothing to read"], TinyConfig())
    with monkeypatch.context() as full:
        full.setattr(tokenizer, "save_pretrained", lambda folder: (_ for _ in ()).throw(OSError("no space left")))
        with pytest.raises(OSError, match="no space"):
            save_checkpoint(model, tokenizer, kept, {}, state=state)
    assert (state / "complete.json").exists()
    save_checkpoint(model, tokenizer, kept, {"steps": 7}, state=state)
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]


def test_a_state_without_its_marker_is_not_there(tmp_path):
    state = tmp_path / "state"
    run(CONFIG, state, stop=5)
    (state / "complete.json").unlink()
    _, seen = run(CONFIG, state)
    assert seen[0].step == 1


def test_a_state_that_was_being_replaced_when_all_was_killed_is_gone_on_from(tmp_path, monkeypatch):
    state = tmp_path / "state"
    move = os.replace

    def replace(old: Path, new: Path) -> None:
        if new == state and (tmp_path / "state.replaced").exists():
            raise Stopped
        move(old, new)

    monkeypatch.setattr(os, "replace", replace)
    run(CONFIG, state)
    monkeypatch.undo()
    assert not state.exists()
    _, seen = run(CONFIG, state)
    assert seen[0].step == 5


def test_nothing_that_is_kept_is_a_pickle(tmp_path):
    state = tmp_path / "state"
    run(CONFIG, state, stop=5)
    assert sorted(each.name for each in state.iterdir()) == ["complete.json", "state.safetensors"]


# ---- what is trained, and how ----------------------------------------------------------------------------------------


def test_adapters_are_what_is_trained_and_peft_and_the_merged_model_say_the_same(tmp_path):
    import peft

    model, before = small(), small()
    config = CONFIG.model_copy(update={"lora": LoraConfig(rank=2, alpha=8)})
    train(model, [Pool(tree(9, 1), 1.0)], config, 5, adapter=tmp_path / "adapter")
    assert type(model) is type(before)
    assert all(value.requires_grad for value in model.parameters())
    assert not any("lora" in name for name, _ in model.named_parameters())
    assert torch.equal(model.get_input_embeddings().weight, before.get_input_embeddings().weight)
    before.save_pretrained(tmp_path / "base")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    around = peft.PeftModel.from_pretrained(loaded, tmp_path / "adapter")
    ids = torch.arange(20)[None]
    with torch.no_grad():
        merged, apart, untrained = (each(input_ids=ids).logits for each in (model, around, before))
    assert torch.allclose(merged, apart, atol=1e-5)
    assert (merged - untrained).abs().max() > 1e-3


def test_layers_that_a_model_has_not_are_told_and_leave_it_as_it_was():
    model = small()
    config = CONFIG.model_copy(update={"lora": LoraConfig(targets=("query",))})
    with pytest.raises(UsageError, match="query"):
        train(model, [Pool(tree(3), 1.0)], config, 0)
    assert all(value.requires_grad for value in model.parameters())
    assert not any("lora" in name for name, _ in model.named_parameters())


def test_an_interrupted_training_with_adapters_leaves_the_model_without_them():
    model, before = small(), small()

    def stop(progress: Progress) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        train(model, [Pool(tree(3), 1.0)], CONFIG.model_copy(update={"lora": LoraConfig()}), 0, stop)
    assert model.state_dict().keys() == before.state_dict().keys()


def test_the_average_is_the_student_that_comes_out():
    config = CONFIG.model_copy(update={"ema": 0.5})
    model, ways = small(), []

    def note(progress: Progress) -> None:
        ways.append({name: value.detach().clone() for name, value in model.named_parameters()})

    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    train(model, [Pool(tree(9, 1), 1.0)], config, 5, note)
    for name, value in model.named_parameters():
        average = start[name]
        for each in ways:
            average = 0.5 * average + 0.5 * each[name]
        assert torch.allclose(value, average, atol=1e-6), name
        assert not torch.equal(value, ways[-1][name])


def test_computing_activations_twice_changes_nothing():
    one, _ = run(CONFIG)
    other, _ = run(CONFIG.model_copy(update={"gradient_checkpointing": True}))
    assert not other.is_gradient_checkpointing
    assert not other.get_input_embeddings()._forward_hooks
    for name, value in one.state_dict().items():
        assert torch.allclose(value, other.state_dict()[name], atol=1e-6), name


def test_weights_of_half_precision_are_trained_in_single_and_come_out_as_they_were():
    config = CONFIG.model_copy(update={"learning_rate": 1e-5})
    halves, whole = small().bfloat16(), small().bfloat16().float()
    for model in (halves, whole):
        train(model, [Pool(tree(9, 1), 1.0)], config, 5)
    assert halves.dtype == torch.bfloat16
    for name, value in whole.bfloat16().state_dict().items():
        assert torch.equal(value, halves.state_dict()[name]), name


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_comes_near_to_full_and_keeps_whole_weights(precision):
    _, told = run(CONFIG)
    half, seen = run(CONFIG.model_copy(update={"precision": precision}))
    assert half.dtype == torch.float32
    for one, other in zip(told, seen, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=0.03)
    assert any(one.loss != other.loss for one, other in zip(told, seen, strict=True))


def test_the_rate_warms_up_then_stays_or_falls_by_a_cosine():
    cosine = TrainingConfig(steps=100, warmup=0.1, learning_rate=2.0, final_rate=0.1)
    assert [rate_at(step, cosine) for step in (0, 4, 9, 10)] == pytest.approx([0.2, 1.0, 2.0, 2.0])
    assert rate_at(55, cosine) == pytest.approx(1.1)
    assert rate_at(99, cosine) == pytest.approx(0.2, abs=1e-3)
    constant = cosine.model_copy(update={"schedule": "constant"})
    assert [rate_at(step, constant) for step in (4, 9, 50, 99)] == pytest.approx([1.0, 2.0, 2.0, 2.0])
