"""The trainer: segments in, a better student out. A plain torch loop over exact tokens and masks."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from agentdistill.errors import NothingSupervisedError
from agentdistill.losses import LossInputs, masked_cross_entropy
from agentdistill.records import Segment

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MARKER = "complete.json"


class TrainingConfig(BaseModel):
    """How a student is trained; the same for every arm."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=400, gt=0)
    """Optimiser steps."""
    tokens_per_step: int = Field(default=1200, gt=0)
    """Supervised tokens that one optimiser step averages over (at least)."""
    micro_batch_tokens: int = Field(default=8192, gt=0)
    """Most tokens, padding included, of one forward pass."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """Peak of the schedule."""
    warmup: float = Field(default=0.05, ge=0, le=1)
    """Share of the steps in which the rate rises; then it falls by a cosine."""
    final_rate: float = Field(default=0.05, ge=0, le=1)
    """Where the cosine ends, as a share of the peak."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's, on matrices only."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""


@dataclass(frozen=True)
class Pool:
    """Segments and the share of each step's supervised tokens that is drawn from them."""

    segments: Sequence[Segment]
    share: float


@dataclass(frozen=True)
class Progress:
    """One optimiser step as it was: for progress bars and logs."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    supervised_tokens: int


def train(
    model: PreTrainedModel,
    pools: Sequence[Pool],
    config: TrainingConfig,
    seed: int,
    on_step: Callable[[Progress], None] = lambda progress: None,
) -> int:
    """Train `model` in place on a mixture of pools; returns how many supervised tokens it saw.

    Each step draws segments from every pool, in an order shuffled anew each time a pool is used up, until the pool has
    given its share of ``tokens_per_step``. The loss is the mean over all supervised tokens of the step, however they
    fall into micro-batches.

    Raises:
        NothingSupervisedError: a pool has no segment, or one without a supervised token.
    """
    torch.manual_seed(seed)
    model.train()
    optimiser = torch.optim.AdamW(_groups(model, config.weight_decay), lr=config.learning_rate, betas=(0.9, 0.98))
    total = sum(pool.share for pool in pools)
    samplers = [(_Sampler(pool.segments, seed + index), pool.share / total) for index, pool in enumerate(pools)]
    seen = 0
    for step in range(config.steps):
        rate = config.learning_rate * _schedule(step, config)
        for group in optimiser.param_groups:
            group["lr"] = rate
        rows = [s for sampler, share in samplers for s in sampler.draw(share * config.tokens_per_step)]
        supervised = sum(row.supervised for row in rows)
        loss = 0.0
        for ids, mask in micro_batches(rows, config.micro_batch_tokens):
            ids, mask = ids.to(model.device), mask.to(model.device)
            # Rows are padded on the right and causal attention never looks there: no attention mask is needed.
            output: Any = model(input_ids=ids, use_cache=False)
            unknown = torch.full_like(output.logits[..., 0], float("nan"))
            part = masked_cross_entropy(
                LossInputs(
                    logits=output.logits,
                    input_ids=ids,
                    loss_mask=mask,
                    normaliser=supervised,
                    weights=torch.ones_like(unknown),
                    logprobs=unknown,
                    teacher_logprobs=unknown,
                    by_teacher=torch.zeros_like(mask),
                )
            ).loss
            part.backward()  # type: ignore[no-untyped-call]
            loss += part.item()
        norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip))
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        seen += supervised
        on_step(Progress(step + 1, loss, rate, norm, supervised))
    model.train(False)
    return seen


def micro_batches(rows: Sequence[Segment], most_tokens: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Rows of similar length, right-padded: ids and loss mask, each [rows, length] of at most `most_tokens` cells."""
    batches: list[list[Segment]] = []
    for row in sorted(rows, key=lambda segment: len(segment.input_ids)):
        if batches and (len(batches[-1]) + 1) * len(row.input_ids) <= most_tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
    return [_pad(batch) for batch in batches]


def save_checkpoint(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, facts: dict[str, Any]
) -> None:
    """Write a checkpoint that is there whole or not at all: its marker is written last."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    (partial / MARKER).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def checkpoint_facts(folder: Path) -> dict[str, Any] | None:
    """What was written with a checkpoint; `None` if there is none or it is not complete."""
    try:
        facts: dict[str, Any] = json.loads((folder / MARKER).read_text())
    except (OSError, ValueError):
        return None
    return facts


class _Sampler:
    """Draws segments without replacement, in an order shuffled anew each time all have been drawn."""

    def __init__(self, segments: Sequence[Segment], seed: int) -> None:
        if not segments or not all(segment.supervised for segment in segments):
            raise NothingSupervisedError("a pool of training data is empty or has a row without a supervised token")
        self.segments = segments
        self.luck = np.random.default_rng(seed)
        self.order: list[int] = []
        self.owed = 0.0

    def draw(self, tokens: float) -> list[Segment]:
        """Segments with about `tokens` supervised tokens; what is drawn too much is drawn less the next time."""
        self.owed += tokens
        drawn: list[Segment] = []
        while self.owed > 0:
            if not self.order:
                self.order = self.luck.permutation(len(self.segments)).tolist()
            drawn.append(self.segments[self.order.pop()])
            self.owed -= drawn[-1].supervised
        return drawn


def _pad(rows: Sequence[Segment]) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(row.input_ids) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for index, row in enumerate(rows):
        ids[index, : len(row.input_ids)] = torch.tensor(row.input_ids)
        mask[index, : len(row.input_ids)] = torch.tensor(row.loss_mask)
    return ids, mask


def _groups(model: PreTrainedModel, weight_decay: float) -> list[dict[str, Any]]:
    matrices = [p for p in model.parameters() if p.requires_grad and p.ndim >= 2]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim < 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _schedule(step: int, config: TrainingConfig) -> float:
    """Share of the peak rate: linear warm-up, then cosine to `final_rate`."""
    warmup = max(1, round(config.steps * config.warmup))
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, config.steps - warmup)
    return config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * done))
