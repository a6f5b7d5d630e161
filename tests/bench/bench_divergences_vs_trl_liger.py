"""Divergences from a teacher beside TRL and Liger: `python tests/bench/bench_divergences_vs_trl_liger.py [percent]...`.

Reverse KL and JSD (beta 0.5) of 1,024 rows over 65,536 tokens, from the hidden states (256) of student and teacher
through their heads, forward and backward; gradients of the student's hidden states and head. So many percent of the
rows carry loss, 20 and 100 if not said. Beside ours:

- TRL's GKD trainer (experimental): both heads, then `generalized_jsd_loss` on all logits;
- TRL's DistillationTrainer: its chunked loss, which on a CPU projects all rows, so both are run at the first percentage
  only;
- Liger's fused linear JSD, compiled and not (each in the chunks that suit it), if it is there: `pip install --no-deps
  liger-kernel`, and a C++ compiler.

Each works in a process of its own, in turn, one warm-up apart. Extra memory is what it held at most, above what it held
before the forward pass. Losses and gradients are compared. Settings by environment: THREADS, ROUNDS.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from contenders import GIB, THREADS, Lap, Race, Track, ratio

from agentdistill.losses import jensen_shannon, reverse_kl
from agentdistill.records import Segment
from agentdistill.training.packing import micro_batches
from agentdistill.training.projection import Head, Work, project

ROUNDS = int(os.environ.get("ROUNDS", "5"))
ROWS, VOCABULARY, HIDDEN = 1024, 65_536, 256
FASTER, LEANER, BESIDE_LIGER, EQUAL = 5.0, 0.3, 1.15, 1e-5
BETAS = {"reverse KL": 1.0, "JSD": 0.5}
IGNORED = -100
Divergence = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, float], torch.Tensor]
"""Student's hidden states [rows, hidden] and head [vocabulary, hidden], the teacher's, labels [rows], beta."""


def ours() -> Divergence:
    """The trainer's way: what carries no loss is left out before the heads."""

    def divergence(
        hidden: torch.Tensor,
        head: torch.Tensor,
        teacher_hidden: torch.Tensor,
        teacher_head: torch.Tensor,
        labels: torch.Tensor,
        beta: float,
    ) -> torch.Tensor:
        mask = (labels != IGNORED).tolist()
        row = Segment(id="", kind="own", trajectory_id="", input_ids=(0,) * (ROWS + 1), loss_mask=(False, *mask))
        (batch,) = micro_batches([row], ROWS)
        loss = reverse_kl if beta == 1 else partial(jensen_shannon, beta=beta)
        teacher = Head(teacher_head).logits_of(teacher_hidden[batch.predictors])
        work = Work(batch, loss, row.supervised, teacher)
        return project(hidden[batch.predictors], Head(head), work).loss

    return divergence


def gkd() -> Divergence:
    """TRL's GKDTrainer: its loss takes logits."""
    from trl.experimental.gkd import GKDTrainer

    def divergence(
        hidden: torch.Tensor,
        head: torch.Tensor,
        teacher_hidden: torch.Tensor,
        teacher_head: torch.Tensor,
        labels: torch.Tensor,
        beta: float,
    ) -> torch.Tensor:
        with torch.no_grad():
            teacher = teacher_hidden @ teacher_head.T
        loss: torch.Tensor = GKDTrainer.generalized_jsd_loss(
            (hidden @ head.T)[None], teacher[None], labels=labels[None], beta=beta
        )
        return loss

    return divergence


def distillation() -> Divergence:
    """TRL's DistillationTrainer."""
    from trl.trainer.distillation_trainer import _chunked_divergence_loss

    def divergence(
        hidden: torch.Tensor,
        head: torch.Tensor,
        teacher_hidden: torch.Tensor,
        teacher_head: torch.Tensor,
        labels: torch.Tensor,
        beta: float,
    ) -> torch.Tensor:
        mask = (labels != IGNORED).long()[None]
        loss: torch.Tensor = _chunked_divergence_loss(
            hidden[None], teacher_hidden[None], head, teacher_head, mask, beta
        )[0]
        return loss

    return divergence


def liger(compiled: bool, chunk: int) -> Divergence:
    """Liger's; without its hard loss."""
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

    def divergence(
        hidden: torch.Tensor,
        head: torch.Tensor,
        teacher_hidden: torch.Tensor,
        teacher_head: torch.Tensor,
        labels: torch.Tensor,
        beta: float,
    ) -> torch.Tensor:
        module = LigerFusedLinearJSDLoss(0.0, 1.0, beta=beta, compiled=compiled, chunk_size=chunk)
        loss: torch.Tensor = module(hidden, head, teacher_hidden, teacher_head, labels)
        return loss

    return divergence


OURS, GKD, DISTILLATION = "ours", "TRL GKDTrainer", "TRL DistillationTrainer"
CONTENDERS: dict[str, tuple[Any, ...]] = {OURS: (ours,), GKD: (gkd,), DISTILLATION: (distillation,)}
if importlib.util.find_spec("liger_kernel"):
    CONTENDERS |= {"Liger, compiled": (liger, True, 256), "Liger, not compiled": (liger, False, 64)}


def work(track: Track, name: str) -> None:
    """Forward and backward, as often as it is asked for: a lap is asked for by beta and percentage."""
    make, *options = CONTENDERS[name]
    divergence: Divergence = make(*options)
    luck = torch.Generator().manual_seed(0)
    hidden, teacher_hidden = torch.randn(2, ROWS, HIDDEN, generator=luck)
    head, teacher_head = torch.randn(2, VOCABULARY, HIDDEN, generator=luck).mul_(0.05)
    tokens = torch.randint(VOCABULARY, (ROWS,), generator=luck)
    order = torch.randperm(ROWS, generator=luck)
    hidden.requires_grad_()
    head.requires_grad_()
    beta, percent = track.start()
    while True:
        labels = tokens.masked_fill(order >= ROWS * percent / 100, IGNORED)
        loss = divergence(hidden, head, teacher_hidden, teacher_head, labels, beta)
        loss.backward()
        assert hidden.grad is not None
        assert head.grad is not None
        said = [loss.detach().clone(), hidden.grad.clone(), head.grad[::64].clone()]
        del loss
        hidden.grad = head.grad = None
        beta, percent = track.lap([each.numpy() for each in said])


def report(title: str, laps: Mapping[str, Sequence[Lap]]) -> None:
    """Print one table."""
    cpu = {name: [lap.cpu for lap in each] for name, each in laps.items()}
    extra = {name: [lap.peak - lap.before for lap in each] for name, each in laps.items()}
    print(f"{title:44} {'CPU-s':>8} {'seconds':>8} {'ours is':>8} {'extra GiB':>10} {'ours is':>8} {'apart':>8}")
    for name, each in laps.items():
        apart = max(
            abs(theirs - mine).max() / abs(mine).max()
            for theirs, mine in zip(each[0].said, laps[OURS][0].said, strict=True)
        )
        seconds = statistics.median(lap.seconds for lap in each)
        print(
            f"{name:44} {statistics.median(cpu[name]):8.2f} {seconds:8.2f} {ratio(cpu[OURS], cpu[name]):7.2f}x "
            f"{statistics.median(extra[name]) / GIB:10.2f} {ratio(extra[OURS], extra[name]):7.2f}x {apart:8.0e}"
        )
        assert apart <= EQUAL, name


def main() -> None:
    """Print the tables."""
    percents = [int(each) for each in sys.argv[1:]] or [20, 100]
    print(f"{ROWS} rows x {VOCABULARY} tokens x {HIDDEN}, {THREADS} thread(s), medians of {ROUNDS} rounds")
    print(
        f"needed: at 20 %, at most {1 / FASTER} x the time and {LEANER} x the extra memory of TRL's; "
        f"at 100 %, at most {BESIDE_LIGER} x the time of Liger's"
    )
    if not any("Liger" in name for name in CONTENDERS):
        print("without Liger: pip install --no-deps liger-kernel")
    with Race({name: (work, name) for name in CONTENDERS}) as field:
        for percent in percents:
            names = [name for name in CONTENDERS if percent == percents[0] or "TRL" not in name]
            for title, beta in BETAS.items():
                laps = field.laps(names, ROUNDS + 1, (beta, percent))
                report(f"{title}, {percent} % of the rows with loss", {name: each[1:] for name, each in laps.items()})


if __name__ == "__main__":
    main()
