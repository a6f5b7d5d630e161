"""The student and the rows that the benchmarks of training share. Nothing is downloaded; the ids are random."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from agentdistill.policies.tiny import TinyConfig, make_tokenizer
from agentdistill.records import Segment
from agentdistill.training import TrainingConfig

VOCABULARY, HIDDEN, LAYERS = 32_768, 256, 4


def student() -> Qwen3ForCausalLM:
    """A small Qwen3 of random weights, the same each time."""
    torch.manual_seed(0)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=VOCABULARY,
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


def ids(luck: np.random.Generator, count: int) -> tuple[int, ...]:
    """So many token ids, by chance."""
    return tuple(luck.integers(1, VOCABULARY, count).tolist())


def tokenizer() -> PreTrainedTokenizerFast:
    """What TRL wants, and takes nothing from but the pad token."""
    return make_tokenizer(["nothing to read"], TinyConfig())


def optimisation(model: Qwen3ForCausalLM, config: TrainingConfig) -> tuple[Any, Any]:
    """Our trainer's optimiser and schedule, for TRL's `optimizers`."""
    groups: list[dict[str, Any]] = [
        {"params": [each for each in model.parameters() if each.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [each for each in model.parameters() if each.ndim < 2], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98))
    warmup = max(1, round(config.steps * config.warmup))

    def share(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        done = (step - warmup) / max(1, config.steps - warmup)
        return config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * done))

    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, share)


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
