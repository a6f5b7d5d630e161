"""Packed rows come to what rows come to one by one, gradients too, on all kinds of models; or nothing is packed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from rows import VOCABULARY, tree

from agentdistill.heldout import HeldOut
from agentdistill.losses import masked_cross_entropy, reverse_kl
from agentdistill.training import Pool, Progress, TrainingConfig, train
from agentdistill.training.packing import micro_batches
from agentdistill.training.projection import Work
from agentdistill.training.scoring import Scored

SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GROUPED: dict[str, Any] = {"num_key_value_heads": 2, "head_dim": 8}

MODELS: dict[str, tuple[str, dict[str, Any], bool, bool]] = {
    # the class, its settings, whether its logits are a plain matrix's, whether it packs
    "Llama": ("Llama", {}, True, True),
    "Llama, tied": ("Llama", {"tie_word_embeddings": True, "attention_bias": True}, True, True),
    "Qwen2": ("Qwen2", {"num_key_value_heads": 2}, True, True),
    "Qwen3": ("Qwen3", GROUPED, True, True),
    "Mistral, a window of 8": ("Mistral", {"sliding_window": 8, "num_key_value_heads": 2}, True, True),
    "Gemma3, a window of 16 in some layers": ("Gemma3", GROUPED | {"sliding_window": 16}, True, True),
    "Cohere, scaled logits": ("Cohere", {"logit_scale": 0.3}, False, True),
    "Gemma2, capped logits and attention": ("Gemma2", GROUPED | {"sliding_window": 16}, False, False),
    "Falcon, no positions but a bias": ("Falcon", {"alibi": True}, True, False),
    "Mamba, no attention": ("Mamba", {}, True, False),
}


def made(name: str) -> Any:
    kind, settings, _, _ = MODELS[name]
    shape = SHAPE | settings
    if kind in ("Mamba", "Falcon"):
        shape = {key: value for key, value in shape.items() if key not in ("intermediate_size",)}
    config_name = "Gemma3TextConfig" if kind == "Gemma3" else f"{kind}Config"
    torch.manual_seed(0)
    config = getattr(transformers, config_name)(**shape)
    return getattr(transformers, f"{kind}ForCausalLM")(config).double()


def near(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    """These models norm and turn in single precision whatever they are given."""
    return bool((found - wanted).abs().max() <= 2e-6 * wanted.abs().max().clamp_min(1e-3))


def gradients(model: Any, most_tokens: int, *, packed: bool) -> tuple[float, dict[str, torch.Tensor], int]:
    scored = Scored(model, 64)
    model.zero_grad(set_to_none=True)
    rows = tree(6, 1)
    total, computed = 0.0, 0
    torch.set_default_dtype(torch.float64)
    try:
        with scored.packing():
            for batch in micro_batches(rows, most_tokens, packed=packed):
                loss, _ = scored(batch, Work(batch, masked_cross_entropy, 10.0))
                loss.backward()
                total += loss.item()
                computed += batch.computed
    finally:
        torch.set_default_dtype(torch.float32)
    return (
        total,
        {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None},
        computed,
    )


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_found_out_and_its_attention_is_left_as_it_was(name):
    model = made(name).train()
    before = model.config._attn_implementation
    scored = Scored(model, 64)
    assert (scored.plain, scored.packs) == MODELS[name][2:]
    assert model.config._attn_implementation == before
    assert model.training


@pytest.mark.parametrize("name", [name for name, facts in MODELS.items() if facts[3]])
def test_a_tree_of_rows_has_the_loss_and_the_gradients_of_its_rows_one_by_one(name):
    model = made(name)
    said, found, computed = gradients(model, 10**6, packed=True)
    alone, wanted, each = gradients(model, 1, packed=True)
    assert computed < 0.7 * each
    assert said == pytest.approx(alone, rel=1e-6)
    assert found.keys() == wanted.keys()
    for parameter, value in found.items():
        assert near(value, wanted[parameter]), parameter


@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_are_those_of_the_models_own_logits(name):
    model = made(name)
    scored = Scored(model, 64)
    said, found, _ = gradients(model, 10**6, packed=scored.packs)
    model.zero_grad(set_to_none=True)
    total = torch.zeros((), dtype=torch.float64)
    for row in tree(6, 1):
        logits = model(input_ids=torch.tensor([row.input_ids]), use_cache=False).logits[0, :-1]
        each = torch.nn.functional.cross_entropy(logits, torch.tensor(row.input_ids[1:]), reduction="none")
        total = total + (each * torch.tensor(row.weights[1:]) * torch.tensor(row.loss_mask[1:])).sum() / 10
    total.backward()  # type: ignore[no-untyped-call]
    assert said == pytest.approx(total.item(), rel=1e-6)
    for parameter, value in model.named_parameters():
        if value.grad is not None:
            assert near(found[parameter], value.grad), parameter


def test_tokens_that_nothing_with_loss_depends_on_get_no_gradient():
    """Exactly none: what stands behind the last token with loss, and in other rows, is not even there."""
    model = made("Llama")
    with_tail = tree(4, 2)
    silent = [59, 58, 57]  # ids that no row has
    rows = [
        row.model_copy(
            update={
                "input_ids": (*(min(token, 56) for token in row.input_ids), *silent),
                "loss_mask": (*row.loss_mask, False, False, False),
                "weights": (),
                "logprobs": (),
                "teacher_logprobs": (),
                "by_teacher": (),
                "teacher_top": (),
            }
        )
        for row in with_tail
    ]
    scored = Scored(model, 64)
    with scored.packing():
        (batch,) = micro_batches(rows, 10**6)
        loss, _ = scored(batch, Work(batch, masked_cross_entropy, 1.0))
        loss.backward()
    embedding = model.get_input_embeddings().weight.grad
    assert (embedding[silent] == 0).all()
    assert (embedding[[row.input_ids[0] for row in rows]] != 0).any()


WINDOWED, UNPACKED = "Mistral, a window of 8", "Falcon, no positions but a bias"


@pytest.mark.parametrize(("one", "other"), [(WINDOWED, UNPACKED), (UNPACKED, WINDOWED)])
def test_rows_that_are_padded_for_one_model_are_no_packed_rows_for_the_other(one, other):
    student, teacher = made(one).float(), made(other).float()
    scored = HeldOut(student, tree(4, 1), reverse_kl, 10**6, teacher)
    measured = scored.measure(student)
    row_by_row = HeldOut(student, tree(4, 1), reverse_kl, 1, teacher).measure(student)
    assert measured == pytest.approx(row_by_row, rel=1e-5)


def test_a_student_that_cannot_be_given_packed_rows_learns_from_a_teacher_that_can():
    seen: list[Progress] = []
    student, teacher = made(UNPACKED).float(), made(WINDOWED).float()
    config = TrainingConfig(steps=1, tokens_per_step=1000)
    train(student, [Pool(tree(4, 1), 1.0, reverse_kl)], config, 0, seen.append, teacher=teacher)
    assert seen[0].loss > 0
