"""The student and the rows that the benchmarks of training share. Nothing is downloaded; the ids are random."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.optimizer import register_optimizer_step_pre_hook
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from agentdistill.policies.tiny import TinyConfig, make_tokenizer
from agentdistill.records import Segment
from agentdistill.training import TrainingConfig
from agentdistill.training.optimising import optimiser_of, rate_at

VOCABULARY, HIDDEN, LAYERS = 32_768, 256, 4


def student(vocabulary: int = VOCABULARY) -> Qwen3ForCausalLM:
    """A small Qwen3 of random weights, the same each time."""
    torch.manual_seed(0)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=vocabulary,
            hidden_size=HIDDEN,
            intermediate_size=3 * HIDDEN,
            num_hidden_layers=LAYERS,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=64,
            max_position_embeddings=4096,
            tie_word_embeddings=True,
            pad_token_id=0,
        )
    )


def segment(name: str, prefix: tuple[int, ...], tail: tuple[int, ...]) -> Segment:
    """A row whose tail carries loss."""
    mask = (False,) * len(prefix) + (True,) * len(tail)
    return Segment(id=name, kind="recovery", trajectory_id=name, input_ids=prefix + tail, loss_mask=mask)


def ids(luck: np.random.Generator, count: int, vocabulary: int = VOCABULARY) -> tuple[int, ...]:
    """So many token ids, by chance."""
    return tuple(luck.integers(1, vocabulary, count).tolist())


def tokenizer() -> PreTrainedTokenizerFast:
    """What TRL wants, and takes nothing from but the pad token."""
    return make_tokenizer(["nothing to read"], TinyConfig())


def optimisation(model: Qwen3ForCausalLM, config: TrainingConfig) -> tuple[Any, Any]:
    """Our trainer's optimiser and schedule, for TRL's `optimizers`."""
    optimiser = optimiser_of(model, config)
    return optimiser, LambdaLR(optimiser, lambda step: rate_at(step, config) / config.learning_rate)


def trl_settings(config: TrainingConfig, rows: int, together: int, folder: str) -> dict[str, Any]:
    """Settings of a TRL trainer that takes the same steps on a CPU, so many rows each, so many of them together."""
    return {
        "output_dir": folder,
        "max_steps": config.steps,
        "per_device_train_batch_size": together,
        "gradient_accumulation_steps": rows // together,
        "train_sampling_strategy": "sequential",
        "max_grad_norm": config.clip,
        "max_length": None,
        "bf16": False,
        "use_cpu": True,
        "report_to": [],
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
    }


def apart(found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> float:
    """The largest difference between two models' gradients, over the largest gradient."""
    assert found.keys() == wanted.keys()
    largest = max(float(each.abs().max()) for each in wanted.values())
    return max(float((found[name] - each).abs().max()) for name, each in wanted.items()) / largest


def keep_gradients(model: Qwen3ForCausalLM, place: str) -> None:
    """Write down the gradients of the first optimiser step that this process takes."""

    def hook(*arguments: Any) -> None:
        if not Path(place).exists():
            torch.save({name: each.grad for name, each in model.named_parameters() if each.grad is not None}, place)

    register_optimizer_step_pre_hook(hook)
