"""Supervised training on segments beside TRL's `SFTTrainer`: `python tests/bench/bench_sft_vs_trl.py`.

The same rows (long prefixes without loss, about 14 % of the tokens with), in the columns that `agentdistill export
--format trl` writes, in the same order; the same random Qwen3 in single precision, the same optimiser and schedule. So
the losses of each optimiser step must be equal, which is checked. Each trainer runs in a process of its own and takes
one optimiser step at a time, in turn; the first one warms up. TRL stands there as it is set by default (with gradient
checkpointing), without checkpointing, and with one row at a time, which pads nothing. Ours has as many rows in a
forward pass as the TRL it is held against. Settings by environment: THREADS, ROUNDS, ROWS (of a step).
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from contenders import GIB, THREADS, Lap, Race, Track, ratio
from trainees import ids, optimisation, segment, student, tokenizer, trl_settings

from agentdistill.records import Segment
from agentdistill.training import Pool, TrainingConfig, train
from agentdistill.training.sampling import Sampler

ROUNDS, ROWS = int(os.environ.get("ROUNDS", "5")), int(os.environ.get("ROWS", "4"))
SUPERVISED, SHORTEST, LONGEST = 91, 450, 850
SEED = 0
FASTER, LEANER, EQUAL = 2.0, 0.4, 1e-5


def rows() -> list[Segment]:
    """Segments of about 650 tokens; all have equally many with loss, so that each step takes equally many rows."""
    luck = np.random.default_rng(SEED)
    lengths = np.linspace(SHORTEST, LONGEST, 2 * ROWS).round().astype(int)
    return [
        segment(str(number), ids(luck, length - SUPERVISED), ids(luck, SUPERVISED))
        for number, length in enumerate(lengths.tolist())
    ]


def settings(together: int) -> TrainingConfig:
    """Ours, with so many rows of the longest kind in one forward pass."""
    return TrainingConfig(
        steps=ROUNDS + 1,
        tokens_per_step=ROWS * SUPERVISED,
        micro_batch_tokens=together * LONGEST,
        learning_rate=1e-3,
        warmup=0.3,
    )


def steps() -> list[list[Segment]]:
    """The rows of each step, as our trainer draws them."""
    sampler = Sampler(rows(), SEED)
    return [list(sampler.draw(ROWS * SUPERVISED)) for _ in range(ROUNDS + 1)]  # type: ignore[arg-type]


def ours(track: Track, together: int) -> None:
    """Our trainer."""
    pool, model = Pool(rows(), 1.0), student()
    track.start()
    train(model, [pool], settings(together), SEED, lambda progress: track.lap(progress.loss))


def trl(track: Track, together: int, checkpointing: bool) -> None:
    """TRL's."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from transformers.utils import logging
    from trl import SFTConfig, SFTTrainer

    logging.set_verbosity_error()

    class Noting(SFTTrainer):
        """Adds up the losses of a step."""

        noted = 0.0

        def training_step(self, *arguments: Any, **named: Any) -> Any:
            loss = super().training_step(*arguments, **named)
            self.noted += float(loss)
            return loss

    class Stopping(TrainerCallback):
        """A lap ends with each optimiser step."""

        def on_step_end(self, *arguments: Any, **named: Any) -> None:
            track.lap(trainer.noted)
            trainer.noted = 0.0

    config, model = settings(together), student()
    data = [
        {
            "input_ids": list(row.input_ids),
            "labels": [token if here else -100 for token, here in zip(row.input_ids, row.loss_mask, strict=True)],
        }
        for step in steps()
        for row in step
    ]
    with tempfile.TemporaryDirectory() as folder:
        trainer = Noting(
            model=model,
            args=SFTConfig(
                **trl_settings(config, ROWS, together, folder),
                gradient_checkpointing=checkpointing,
            ),
            train_dataset=Dataset.from_list(data),
            processing_class=tokenizer(),
            callbacks=[Stopping()],
            optimizers=optimisation(model, config),
        )
        track.start()
        trainer.train()


CONTENDERS: dict[str, tuple[Any, ...]] = {
    f"ours, {ROWS} rows at a time": (ours, ROWS),
    "ours, 1 row at a time": (ours, 1),
    f"TRL, {ROWS} rows, its defaults": (trl, ROWS, True),
    f"TRL, {ROWS} rows, no checkpointing": (trl, ROWS, False),
    "TRL, 1 row, no checkpointing": (trl, 1, False),
}
"""The function, rows in a forward pass, and whether activations are computed again."""
PAIRS = {
    mine: [name for name, (_, rows, *_) in CONTENDERS.items() if name.startswith("TRL") and rows == together]
    for mine, (_, together, *_) in list(CONTENDERS.items())[:2]
}
"""Whom each of ours is held against: the fastest of these."""


def report(laps: Mapping[str, Sequence[Lap]], tokens: Sequence[int]) -> None:
    """Print the table and what the project promises."""
    rates = {
        name: [count / lap.cpu for count, lap in zip(tokens, each, strict=True)][1:] for name, each in laps.items()
    }
    most = {name: max(lap.peak for lap in each) for name, each in laps.items()}
    above = {name: peak - laps[name][0].before for name, peak in most.items()}
    print(f"{'medians, the highest peak':34} {'tokens/CPU-s':>12} {'s a step':>9} {'peak GiB':>9} {'above start':>12}")
    for name, each in laps.items():
        seconds = statistics.median(lap.seconds for lap in each[1:])
        rate = statistics.median(rates[name])
        print(f"{name:34} {rate:12.0f} {seconds:9.2f} {most[name] / GIB:9.2f} {above[name] / GIB:12.2f}")
    for mine, others in PAIRS.items():
        fastest = max(others, key=lambda name: statistics.median(rates[name]))
        print(
            f"{mine}, over {fastest}: tokens per CPU-second {ratio(rates[mine], rates[fastest]):.2f}x (at least "
            f"{FASTER} needed), peak memory {most[mine] / most[fastest]:.2f}x (at most {LEANER} needed), above the "
            f"start {above[mine] / above[fastest]:.2f}x"
        )
    losses = zip(*([lap.said for lap in each] for each in laps.values()), strict=True)
    apart = max(max(step) - min(step) for step in losses)
    print(f"losses of {len(tokens)} steps: at most {apart:.1e} between any two (at most {EQUAL} needed)")
    assert apart <= EQUAL


def main() -> None:
    """Run all."""
    made = steps()
    tokens = [sum(len(row.input_ids) for row in step) for step in made]
    share = sum(row.supervised for step in made for row in step) / sum(tokens)
    print(
        f"{ROWS} rows a step, {sum(tokens) / len(tokens) / ROWS:.0f} tokens each, {share:.0%} with loss, "
        f"{THREADS} thread(s), {ROUNDS} rounds"
    )
    with Race(CONTENDERS) as field:
        report(field.laps(CONTENDERS, ROUNDS + 1), tokens)


if __name__ == "__main__":
    main()
