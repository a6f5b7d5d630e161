"""The trainer: segments in, a better student out. A plain torch loop over exact tokens and masks."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from agentdistill.errors import UsageError
from agentdistill.losses import Loss, masked_cross_entropy, name_of, needs_of
from agentdistill.losses.base import instead_of, unwrapped
from agentdistill.records import PreferencePair, Segment
from agentdistill.training.adapters import adapted
from agentdistill.training.checkpoints import Resumable
from agentdistill.training.config import TrainingConfig
from agentdistill.training.optimising import Average, in_single_precision, optimiser_of, rate_at
from agentdistill.training.packing import Batch, micro_batches
from agentdistill.training.projection import Work
from agentdistill.training.sampling import (
    Rows,
    Sampler,
    are_pairs,
    ill_measured,
    lacking,
    likeliest_counts,
    sides,
    supervised_tokens,
)
from agentdistill.training.scoring import Scored
from agentdistill.training.team import Team

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


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

    `computed_tokens` went through the student, what rows have in common once; `metrics` are those of the losses, by
    `loss/metric`: means over the step's supervised tokens, or over its pairs.
    """

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    supervised_tokens: int
    computed_tokens: int
    metrics: Mapping[str, float] = field(default_factory=dict)


def train(
    model: PreTrainedModel,
    pools: Sequence[Pool],
    config: TrainingConfig,
    seed: int,
    on_step: Callable[[Progress], None] = lambda progress: None,
    *,
    teacher: PreTrainedModel | None = None,
    state: Path | None = None,
    adapter: Path | None = None,
    sharded: bool = False,
) -> int:
    """Train `model` in place on a mixture of pools; returns how many supervised tokens it saw.

    Each step draws rows from every pool, in an order shuffled anew each time a pool is used up, until the pool has
    given its share of ``tokens_per_step``; of a pair, the tokens of its chosen side are counted. The loss of a step is
    the mean over all supervised tokens that its segments have together, whichever pool they come from and however they
    fall into micro-batches; to this is added, for each pool of pairs, the mean over its pairs, times the pool's share.

    Log-probabilities of the reference are those of `model` as it is now, found once for each row before anything is
    trained; the model is not kept twice.

    Started by ``torchrun``, the processes train together and come to what one of them would have come to; their group
    is there until `leave_team`.

    Args:
        model: the student.
        pools: what it learns from.
        config: how.
        seed: decides the order of the rows, and dropout.
        on_step: told of each step.
        teacher: gives its whole distribution at each token, to losses that need it; its vocabulary is the student's.
        state: a folder. What is written there lets the same training, begun again, go on where it was. It stays there
            at the end, until whoever keeps the student removes it (`save_checkpoint`).
        adapter: a folder that the adapters are written to, in PEFT's format, before they are merged into `model`.
        sharded: of several processes, each keeps a part of the weights only (FSDP2). At the end the weights of `model`
            are whole again in each, to be saved; it cannot be called any more.

    Raises:
        NothingSupervisedError: a pool has no row, or one without a supervised token.
        UsageError: rows, teacher and losses do not fit each other, or adapters do not fit the model; told before
            training begins.
    """
    check_pools(model, pools, teacher)
    team = Team.join(model.device, sharded)
    torch.manual_seed(seed)
    with ExitStack() as stack:
        longest = max((len(row.input_ids) for pool in pools for row in sides(pool.rows)), default=0)
        if config.lora is None:
            stack.enter_context(in_single_precision(model))
        around = stack.enter_context(adapted(model, config.lora, adapter if team.leads else None))
        student = Scored(around, longest)
        stack.enter_context(student.packing())
        return _Training(student, pools, config, seed, team, teacher, stack).run(on_step, state)


@dataclass(frozen=True)
class _Part:
    """What one loss is given of a step: rows, and what a sum over them is divided by.

    `weight` is how much the result counts; `share`, how many of all that the loss's metrics are means of are here.
    """

    loss: Loss
    rows: Rows
    normaliser: float
    weight: float
    share: float = 1.0


class _Training:
    """One training, from its first step or from where it was, to its last."""

    def __init__(
        self,
        student: Scored,
        pools: Sequence[Pool],
        config: TrainingConfig,
        seed: int,
        team: Team,
        teacher: PreTrainedModel | None,
        stack: ExitStack,
    ) -> None:
        self.student = student
        self.pools = pools
        self.config = config
        self.seed = seed
        self.team = team
        total = sum(pool.share for pool in pools)
        self.samplers = [(pool, Sampler(pool.rows, seed + at), pool.share / total) for at, pool in enumerate(pools)]
        self.teacher = None
        if teacher is not None and any(map(_asks_teacher, pools)):
            teacher.train(False)
            self.teacher = Scored(teacher, student.longest)
            if student.packs and not self.teacher.packs:
                raise UsageError(
                    "the student can compute packed rows and the teacher cannot: score the rows beforehand"
                )
            if student.packs:  # what it is given is packed only then
                stack.enter_context(self.teacher.packing())
        self.references = self._find_references()
        inner = student.inner
        if config.gradient_checkpointing:
            inner.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[no-untyped-call]
            stack.callback(inner.gradient_checkpointing_disable)
            if hasattr(inner, "_require_grads_hook"):
                stack.callback(inner.disable_input_require_grads)
        self.model = team.wrap(student)
        self.optimiser = optimiser_of(self.model, config)
        self.average = Average(self.model.parameters(), config.ema) if config.ema else None
        self.scaler = torch.amp.GradScaler(student.device.type, enabled=config.precision == "float16")

    def run(self, on_step: Callable[[Progress], None], state: Path | None) -> int:
        """All steps that are not done yet; returns how many supervised tokens all of them saw."""
        kept = None
        done: dict[str, Any] = {"step": 0}
        if state is not None:
            kept = Resumable(state, self._identity(), self.model, self.optimiser, self.average, self.team)
            done = kept.load()
        if scale := done.get("scaler"):
            self.scaler.load_state_dict(scale)
        first, seen = int(done["step"]), int(done.get("seen", 0))
        for _ in range(first):
            self._draw()
        self.student.train()
        for step in range(first, self.config.steps):
            torch.manual_seed(self.seed + step * 1_000_003 + self.team.rank)
            progress = self._step(step)
            seen += progress.supervised_tokens
            on_step(progress)
            if kept is not None and (step + 1) % self.config.save_every == 0 and step + 1 < self.config.steps:
                kept.save(step + 1, seen=seen, scaler=self.scaler.state_dict())
        if self.average is not None:
            self.average.apply()
        self.student.train(False)
        self.team.unwrap(self.model, self.student)
        return seen

    def _step(self, step: int) -> Progress:
        rate = rate_at(step, self.config)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        drawn = self._draw()
        parts = [
            (part, batch)
            for part in _parts(drawn)
            for batch in micro_batches(part.rows, self.config.micro_batch_tokens, packed=self.student.packs)
        ]
        loss, computed, metrics = 0.0, 0, Counter[str]()
        mine = self.team.mine(parts)
        for index, (part, batch, counts) in enumerate(mine):
            with self.team.gathering(self.model, index + 1 == len(mine)):
                value, told = self._pass(part, batch, part.weight * counts)
            loss += value
            computed += batch.computed if counts else 0
            counts *= part.share
            metrics.update({f"{name_of(part.loss)}/{name}": each * counts for name, each in told.items()})
        self.scaler.unscale_(self.optimiser)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update()
        told = self.team.added({"loss": loss, "computed": computed, **metrics})
        return Progress(
            step=step + 1,
            loss=told.pop("loss"),
            learning_rate=rate,
            gradient_norm=self.team.whole(norm),
            supervised_tokens=sum(supervised_tokens(rows) for _, _, rows in drawn),
            computed_tokens=int(told.pop("computed")),
            metrics=told,
        )

    def _pass(self, part: _Part, batch: Batch, weight: float) -> tuple[float, Mapping[str, float]]:
        """One micro-batch forwards and backwards; the loss, and what it says besides."""
        device = self.student.device
        wanted, teacher = needs_of(part.loss), None
        if "reference_logprobs" in wanted:
            batch = replace(batch, reference=torch.cat([self.references[id(row)] for row in batch.rows]))
        batch = batch.to(device)
        with self._autocast():
            known = batch.top_ids is not None and _may_stand_in(part.loss)
            if "teacher_logits" in wanted and not known and self.teacher is not None:
                teacher = self.teacher.scores(batch.to(self.teacher.device))
            loss, told = self.model(batch, Work(batch, part.loss, part.normaliser, teacher))
        # Gradients of several processes are averaged, and are to be added.
        self.scaler.scale(loss * weight * self.team.size).backward()
        return float(loss.detach()) * weight, told

    def _autocast(self) -> AbstractContextManager[None]:
        kind = _AUTOCAST.get(self.config.precision)
        return torch.autocast(self.student.device.type, kind, enabled=kind is not None)

    def _draw(self) -> list[tuple[Loss, float, Rows]]:
        """What a step learns from: something, even where the row drawn last was worth several steps."""
        while True:
            drawn = [
                (pool.loss, share, sampler.draw(share * self.config.tokens_per_step))
                for pool, sampler, share in self.samplers
            ]
            if any(rows for _, _, rows in drawn):
                return drawn

    def _find_references(self) -> dict[int, torch.Tensor]:
        """By row (its `id`), the log-probabilities of its tokens that carry loss, as things are."""
        found: dict[int, torch.Tensor] = {}
        self.student.train(False)
        for pool in self.pools:
            if "reference_logprobs" in needs_of(pool.loss):
                for batch in micro_batches(pool.rows, self.config.micro_batch_tokens, packed=self.student.packs):
                    with self._autocast():  # as it is trained: at first, nothing has become likelier
                        values = self.student.logprobs(batch.to(self.student.device)).cpu()
                    counts = torch.bincount(batch.row, minlength=len(batch.rows)).tolist()
                    found |= {id(row): each for row, each in zip(batch.rows, torch.split(values, counts), strict=True)}
        return found

    def _identity(self) -> str:
        """Equal for trainings that come to the same."""
        digest = hashlib.sha256(repr((self.config.model_dump(exclude={"save_every"}), self.seed)).encode())
        for pool in self.pools:
            digest.update(repr((pool.share, name_of(pool.loss), sorted(unwrapped(pool.loss)[1].items()))).encode())
            for row in sides(pool.rows):
                said = [row.loss_mask, row.weights, row.logprobs, row.teacher_logprobs, row.teacher_top, row.by_teacher]
                digest.update(json.dumps([row.id, row.input_ids, *said]).encode())
        return digest.hexdigest()


def _parts(drawn: Sequence[tuple[Loss, float, Rows]]) -> Iterator[_Part]:
    """A step's rows by their loss: segments of all pools that share one, and each pool of pairs by itself."""
    supervised = sum(supervised_tokens(rows) for _, _, rows in drawn if not are_pairs(rows))
    paired = Counter[str]()
    for loss, _, rows in drawn:
        paired[name_of(loss)] += len(rows) if are_pairs(rows) else 0
    together: dict[int, tuple[Loss, list[Segment]]] = {}
    for loss, share, rows in drawn:
        if are_pairs(rows):
            yield _Part(loss, rows, len(rows), share, len(rows) / paired[name_of(loss)])
        else:
            together.setdefault(id(loss), (loss, []))[1].extend(rows)  # type: ignore[arg-type]
    for loss, segments in together.values():
        yield _Part(loss, segments, supervised, 1.0)


def _may_stand_in(loss: Loss) -> bool:
    """Whether the teacher's likeliest tokens will do where a loss would ask the teacher itself."""
    return instead_of(loss).get("teacher_logits") == "teacher_top"


def _asks_teacher(pool: Pool) -> bool:
    if "teacher_logits" not in needs_of(pool.loss):
        return False
    few = {count for row in sides(pool.rows) for count in likeliest_counts(row)}
    return not (_may_stand_in(pool.loss) and len(few) == 1 and few != {0})


def check_pools(model: PreTrainedModel, pools: Sequence[Pool], teacher: PreTrainedModel | None) -> None:
    """See that rows, teacher and losses fit each other, as `train` does before it begins.

    Raises:
        UsageError: they do not; the message says which.
    """
    for pool in pools:
        wanted, name = needs_of(pool.loss), name_of(pool.loss)
        if any(isinstance(row, PreferencePair) != ("pairs" in wanted) for row in pool.rows):
            others = ("segments", "preference pairs") if "pairs" in wanted else ("preference pairs", "segments")
            raise UsageError(f"{name} was given {others[0]}, and learns from {others[1]}")
        if _asks_teacher(pool):
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
