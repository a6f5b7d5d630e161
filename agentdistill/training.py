"""The trainer: segments in, a better student out. A plain torch loop over exact tokens and masks."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from agentdistill.batching import (
    Batch,
    Rows,
    Sampler,
    are_pairs,
    ill_measured,
    lacking,
    micro_batches,
    padded,
    sides,
    supervised_tokens,
)
from agentdistill.errors import UsageError
from agentdistill.losses import Loss, LossInputs, masked_cross_entropy, name_of, needs_of
from agentdistill.losses.base import token_logprobs
from agentdistill.records import PreferencePair, Segment

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
    """Training rows, the share of each step's supervised tokens that is drawn from them, and what they are taught by.

    Rows are segments, or preference pairs if the loss needs pairs.
    """

    rows: Rows
    share: float
    loss: Loss = masked_cross_entropy


@dataclass(frozen=True)
class Progress:
    """One optimiser step as it was: for progress bars and logs.

    `metrics` are those of the losses, by `loss/metric`: means over the step's supervised tokens, or over its pairs.
    """

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    supervised_tokens: int
    metrics: Mapping[str, float] = field(default_factory=dict)


def train(
    model: PreTrainedModel,
    pools: Sequence[Pool],
    config: TrainingConfig,
    seed: int,
    on_step: Callable[[Progress], None] = lambda progress: None,
    *,
    teacher: PreTrainedModel | None = None,
) -> int:
    """Train `model` in place on a mixture of pools; returns how many supervised tokens it saw.

    Each step draws rows from every pool, in an order shuffled anew each time a pool is used up, until the pool has
    given its share of ``tokens_per_step``; of a pair, the tokens of its chosen side are counted. The loss of a step is
    the mean over all supervised tokens that its segments have together, whichever pool they come from and however they
    fall into micro-batches; to this is added, for each pool of pairs, the mean over its pairs, times the pool's share.

    Log-probabilities of the reference are those of `model` as it is now, found once for each row before anything is
    trained; the model is not kept twice.

    Args:
        model: the student.
        pools: what it learns from.
        config: how.
        seed: decides the order of the rows.
        on_step: told of each step.
        teacher: gives its whole distribution at each token, to losses that need it; its vocabulary is the student's.

    Raises:
        NothingSupervisedError: a pool has no row, or one without a supervised token.
        UsageError: rows, teacher and losses do not fit each other; told before training begins.
    """
    _check(model, pools, teacher)
    if teacher is not None:
        teacher.train(False)
    torch.manual_seed(seed)
    references = _references(model, pools, config.micro_batch_tokens)
    model.train()
    optimiser = torch.optim.AdamW(_groups(model, config.weight_decay), lr=config.learning_rate, betas=(0.9, 0.98))
    total = sum(pool.share for pool in pools)
    samplers = [(pool, Sampler(pool.rows, seed + index), pool.share / total) for index, pool in enumerate(pools)]
    seen = 0
    for step in range(config.steps):
        rate = config.learning_rate * _schedule(step, config)
        for group in optimiser.param_groups:
            group["lr"] = rate
        drawn = [(pool.loss, share, sampler.draw(share * config.tokens_per_step)) for pool, sampler, share in samplers]
        supervised = sum(supervised_tokens(rows) for _, _, rows in drawn)
        loss, metrics = 0.0, Counter[str]()
        for part in _parts(drawn):
            for batch in micro_batches(part.rows, config.micro_batch_tokens):
                # Rows are padded on the right and causal attention never looks there: no attention mask is needed.
                output: Any = model(input_ids=batch.ids.to(model.device), use_cache=False)
                said = part.loss(_inputs(batch, output.logits, part, teacher, references))
                weighted = said.loss * part.weight
                weighted.backward()  # type: ignore[no-untyped-call]
                loss += weighted.item()
                metrics.update({f"{name_of(part.loss)}/{name}": value for name, value in said.metrics.items()})
        norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip))
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        seen += supervised
        on_step(Progress(step + 1, loss, rate, norm, supervised, dict(metrics)))
    model.train(False)
    return seen


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


@dataclass(frozen=True)
class _Part:
    """What one loss is given of a step: rows, what a sum over them is divided by, and how much the result counts."""

    loss: Loss
    rows: Rows
    normaliser: float
    weight: float


def _parts(drawn: Sequence[tuple[Loss, float, Rows]]) -> Iterator[_Part]:
    """A step's rows by their loss: segments of all pools that share one, and each pool of pairs by itself."""
    supervised = sum(supervised_tokens(rows) for _, _, rows in drawn if not are_pairs(rows))
    together: dict[int, tuple[Loss, list[Segment]]] = {}
    for loss, share, rows in drawn:
        if are_pairs(rows):
            yield _Part(loss, rows, len(rows), share)
        else:
            together.setdefault(id(loss), (loss, []))[1].extend(rows)  # type: ignore[arg-type]
    for loss, segments in together.values():
        yield _Part(loss, segments, supervised, 1.0)


def _inputs(
    batch: Batch,
    logits: torch.Tensor,
    part: _Part,
    teacher: PreTrainedModel | None,
    references: Mapping[int, torch.Tensor],
) -> LossInputs:
    """A micro-batch as its loss meets it, on the student's device."""
    wanted, device = needs_of(part.loss), logits.device
    teacher_logits = reference = None
    if "teacher_logits" in wanted and teacher is not None:
        with torch.no_grad():
            output: Any = teacher(input_ids=batch.ids.to(teacher.device), use_cache=False)
        teacher_logits = output.logits.to(device)
    if "reference_logprobs" in wanted:
        reference = padded([references[id(row)] for row in batch.rows], math.nan).to(device)
    return LossInputs(
        logits=logits,
        input_ids=batch.ids.to(device),
        loss_mask=batch.mask.to(device),
        normaliser=part.normaliser,
        weights=batch.weights.to(device),
        logprobs=batch.logprobs.to(device),
        teacher_logprobs=batch.teacher_logprobs.to(device),
        by_teacher=batch.by_teacher.to(device),
        teacher_logits=teacher_logits,
        reference_logprobs=reference,
        paired=batch.paired,
    )


def _references(model: PreTrainedModel, pools: Sequence[Pool], most_tokens: int) -> dict[int, torch.Tensor]:
    """By row (its `id`), the log-probabilities [length] of its tokens that carry loss, NaN elsewhere: as things are."""
    found: dict[int, torch.Tensor] = {}
    wanted = [pool for pool in pools if "reference_logprobs" in needs_of(pool.loss)]
    model.train(False)
    with torch.no_grad():
        for batch in (batch for pool in wanted for batch in micro_batches(pool.rows, most_tokens)):
            ids, mask = batch.ids.to(model.device), batch.mask.to(model.device)
            output: Any = model(input_ids=ids, use_cache=False)
            each = token_logprobs(output.logits, ids, mask)
            whole = torch.full(ids.shape, math.nan, dtype=each.dtype, device=ids.device)
            whole[:, 1:][mask[:, 1:]] = each
            for row, values in zip(batch.rows, whole.cpu(), strict=True):
                found[id(row)] = values[: len(row.input_ids)].clone()
    return found


def _check(model: PreTrainedModel, pools: Sequence[Pool], teacher: PreTrainedModel | None) -> None:
    """See that rows, teacher and losses fit each other.

    Raises:
        UsageError: they do not; the message says which.
    """
    for pool in pools:
        wanted, name = needs_of(pool.loss), name_of(pool.loss)
        if any(isinstance(row, PreferencePair) != ("pairs" in wanted) for row in pool.rows):
            others = ("segments", "preference pairs") if "pairs" in wanted else ("preference pairs", "segments")
            raise UsageError(f"{name} was given {others[0]}, and learns from {others[1]}")
        if "teacher_logits" in wanted:
            if teacher is None:
                raise UsageError(f"{name} needs a teacher that gives logits: a local model with the student's tokens")
            sizes = [each.config.get_text_config().vocab_size for each in (model, teacher)]
            if sizes[0] != sizes[1]:
                raise UsageError(f"{name}: the student has {sizes[0]} tokens and the teacher {sizes[1]}, not the same")
        for row in sides(pool.rows):
            if ragged := next(ill_measured(row), None):
                raise UsageError(f"the row {row.id} has not one entry of {ragged} for each of its tokens")
            if missing := next((need for need in lacking(row) if need in wanted), None):
                raise UsageError(f"{name} needs {missing}, and the row {row.id} has a token with loss without it")


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
