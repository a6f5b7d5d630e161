"""Preference training beside TRL's `DPOTrainer`: `python tests/bench/bench_dpo_vs_trl.py`.

The same pairs (two ways to go on from one prefix) in the same ids, in the same order; the same random Qwen3 in single
precision, optimiser and schedule. So the losses of all optimiser steps must be equal, and the gradients of the first,
which is checked. TRL takes our ids as they are, and finds the reference's log-probabilities beforehand, as ours does:
that is its fastest way, and is not timed. Each trainer runs in a process of its own and takes one optimiser step at a
time, in turn; the first one warms up. Settings by environment: THREADS, ROUNDS, PAIRS (of a step).
"""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contenders import GIB, THREADS, Race, Track, ratio
from trainees import apart, ids, keep_gradients, optimisation, segment, student, tokenizer, trl_settings

from agentdistill.losses import dpo
from agentdistill.records import PreferencePair
from agentdistill.training import Pool, TrainingConfig, train
from agentdistill.training.sampling import Sampler

ROUNDS, PAIRS = int(os.environ.get("ROUNDS", "5")), int(os.environ.get("PAIRS", "2"))
CHOSEN, SHORTEST, LONGEST = 91, 400, 700
SEED = 0
EQUAL = 1e-5


def pairs() -> list[PreferencePair]:
    """Pairs with about 550 tokens in common; chosen sides are equally long, so that each step takes equally many."""
    luck = np.random.default_rng(SEED)
    made = []
    for number, length in enumerate(np.linspace(SHORTEST, LONGEST, 2 * PAIRS).round().astype(int).tolist()):
        prefix = ids(luck, length)
        sides = [segment(f"{number}", prefix, ids(luck, count)) for count in (CHOSEN, int(luck.integers(60, 120)))]
        made.append(
            PreferencePair(
                id=str(number), trajectory_id="", step=0, chosen=sides[0], rejected=sides[1], source="takeover"
            )
        )
    return made


CONFIG = TrainingConfig(
    steps=ROUNDS + 1,
    tokens_per_step=PAIRS * CHOSEN,
    micro_batch_tokens=2 * PAIRS * (LONGEST + 120),
    learning_rate=1e-4,
    warmup=0.3,
    clip=1e9,
)


def ours(track: Track, place: str) -> None:
    """Our trainer, whose first lap holds the reference's log-probabilities too."""
    pool, model = Pool(pairs(), 1.0, dpo), student()
    keep_gradients(model, place)
    track.start()
    train(model, [pool], CONFIG, SEED, lambda progress: track.lap(progress.loss))


def trl(track: Track, place: str, checkpointing: bool) -> None:
    """TRL's."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from transformers.utils import logging
    from trl import DPOConfig, DPOTrainer

    logging.set_verbosity_error()

    class InOurIds(DPOTrainer):
        """Takes prompt_ids, chosen_ids and rejected_ids as they are."""

        noted = 0.0

        def _prepare_dataset(self, dataset: Any, *others: Any) -> Any:
            return dataset

        def training_step(self, *arguments: Any, **named: Any) -> Any:
            loss = super().training_step(*arguments, **named)
            self.noted += float(loss)
            return loss

    class Stopping(TrainerCallback):
        """A lap ends with each optimiser step."""

        def on_step_end(self, *arguments: Any, **named: Any) -> None:
            track.lap(trainer.noted)
            trainer.noted = 0.0

    sampler, model = Sampler(pairs(), SEED), student()
    drawn: list[Any] = [pair for _ in range(CONFIG.steps) for pair in sampler.draw(PAIRS * CHOSEN)]
    data = []
    for pair in drawn:
        prefix = pair.chosen.loss_mask.index(True)
        chosen, rejected = (list(side.input_ids[prefix:]) for side in (pair.chosen, pair.rejected))
        prompt = list(pair.chosen.input_ids[:prefix])
        data.append({"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected})
    keep_gradients(model, place)
    with tempfile.TemporaryDirectory() as folder:
        trainer = InOurIds(
            model=model,
            args=DPOConfig(
                **trl_settings(CONFIG, PAIRS, PAIRS, folder),
                gradient_checkpointing=checkpointing,
                precompute_ref_log_probs=True,
            ),
            train_dataset=Dataset.from_list(data),
            processing_class=tokenizer(),
            callbacks=[Stopping()],
            optimizers=optimisation(model, CONFIG),
        )
        track.start()
        trainer.train()


def main() -> None:
    """Run all."""
    print(f"{PAIRS} pairs a step, {THREADS} thread(s), medians of {ROUNDS} rounds")
    with tempfile.TemporaryDirectory() as folder:
        places = {name: str(Path(folder) / name) for name in ("ours", "TRL, its defaults", "TRL, no checkpointing")}
        mine, default, plain = places
        contenders: dict[str, tuple[Any, ...]] = {
            mine: (ours, places[mine]),
            default: (trl, places[default], True),
            plain: (trl, places[plain], False),
        }
        with Race(contenders) as field:
            laps = field.laps(contenders, ROUNDS + 1)
        found = {name: torch.load(place) for name, place in places.items()}
    cpu = {name: [lap.cpu for lap in each[1:]] for name, each in laps.items()}
    print(f"{'':34} {'CPU-s a step':>12} {'s a step':>9} {'ours is':>8} {'peak GiB':>9} {'gradients apart':>16}")
    for name, each in laps.items():
        seconds = statistics.median(lap.seconds for lap in each[1:])
        print(
            f"{name:34} {statistics.median(cpu[name]):12.2f} {seconds:9.2f} {ratio(cpu[mine], cpu[name]):7.2f}x "
            f"{max(lap.peak for lap in each) / GIB:9.2f} {apart(found[name], found[mine]):16.1e}"
        )
    losses = zip(*([lap.said for lap in each] for each in laps.values()), strict=True)
    differing = max(max(step) - min(step) for step in losses)
    print(f"losses of {ROUNDS + 1} steps: at most {differing:.1e} between any two (at most {EQUAL} needed)")
    assert differing <= EQUAL
    assert all(apart(each, found[mine]) <= EQUAL for each in found.values())


if __name__ == "__main__":
    main()
