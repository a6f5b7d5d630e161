"""What it saves to compute a shared prefix once: `python tests/bench/bench_shared_prefix.py`.

Four recoveries of one failed run: rows that begin with the same 1,024 tokens, without loss, and go on differently for
256, with loss. The vocabulary is small: so the head is to the layers as in a Qwen3 of 0.6 billion parameters, while
with a large one it would hide what a model of four layers saves. Three ways, each in a process of its own, one
optimiser step at a time, in turn; the first one warms up:

- our trainer, all rows in one pass;
- our trainer, which is given room for one row at a time;
- plain torch, one row at a time: the model's hidden states, its head on what carries loss, cross-entropy, AdamW.

Tokens are counted where they go into the model's first layer. The losses of all steps and the gradients of the first
are compared. Settings by environment: THREADS, ROUNDS.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contenders import THREADS, Race, Track, ratio
from trainees import apart, ids, keep_gradients, optimisation, segment, student

from agentdistill.records import Segment
from agentdistill.training import Pool, TrainingConfig, train

ROUNDS = int(os.environ.get("ROUNDS", "5"))
RECOVERIES, PREFIX, CONTINUATION, VOCABULARY = 4, 1024, 256, 4096
IDEAL = PREFIX + RECOVERIES * CONTINUATION
FLAT = RECOVERIES * (PREFIX + CONTINUATION)
COMPUTED, TIME, EQUAL = 1.15, 0.55, 1e-5
CONFIG = TrainingConfig(
    steps=ROUNDS + 1,
    tokens_per_step=RECOVERIES * CONTINUATION,
    micro_batch_tokens=FLAT,
    learning_rate=1e-3,
    clip=1e9,
)


def rows() -> list[Segment]:
    """The recoveries."""
    luck = np.random.default_rng(0)
    prefix = ids(luck, PREFIX, VOCABULARY)
    return [segment(str(number), prefix, ids(luck, CONTINUATION, VOCABULARY)) for number in range(RECOVERIES)]


def counted(model: Any) -> list[int]:
    """A list that is added to: how many tokens go into the first layer, each time."""
    tokens: list[int] = []
    model.model.layers[0].register_forward_pre_hook(lambda _, given: tokens.append(given[0].shape[:-1].numel()))
    return tokens


def ours(track: Track, place: str, most_tokens: int) -> None:
    """Our trainer, with so many tokens together."""
    model = student(VOCABULARY)
    tokens = counted(model)
    keep_gradients(model, place)

    def step(loss: float) -> None:
        track.lap((loss, sum(tokens)))
        tokens.clear()

    config = CONFIG.model_copy(update={"micro_batch_tokens": most_tokens})
    track.start()
    train(model, [Pool(rows(), 1.0)], config, 0, lambda progress: step(progress.loss))


def plain(track: Track, place: str) -> None:
    """Each row by itself, in a few lines."""
    model = student(VOCABULARY)
    tokens = counted(model)
    keep_gradients(model, place)
    optimiser, schedule = optimisation(model, CONFIG)
    track.start()
    while True:
        loss = 0.0
        for row in rows():
            sequence = torch.tensor([row.input_ids])
            hidden = model.model(input_ids=sequence[:, :-1], use_cache=False).last_hidden_state[0, PREFIX - 1 :]
            each = torch.nn.functional.cross_entropy(model.lm_head(hidden), sequence[0, PREFIX:]) / RECOVERIES
            each.backward()
            loss += float(each.detach())
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        said = (loss, sum(tokens))
        tokens.clear()
        track.lap(said)


def main() -> None:
    """Print the table."""
    print(
        f"{RECOVERIES} recoveries of {CONTINUATION} tokens with loss, one prefix of {PREFIX}; {THREADS} thread(s), "
        f"medians of {ROUNDS} rounds"
    )
    with tempfile.TemporaryDirectory() as folder:
        work: dict[str, tuple[Any, ...]] = {
            "ours, all rows together": (ours, FLAT),
            "ours, one row at a time": (ours, PREFIX + CONTINUATION),
            "plain torch, one row at a time": (plain,),
        }
        places = {name: str(Path(folder) / name) for name in work}
        contenders = {name: (function, places[name], *others) for name, (function, *others) in work.items()}
        with Race(contenders) as field:
            laps = {name: each[1:] for name, each in field.laps(contenders, ROUNDS + 1).items()}
        found = {name: torch.load(place) for name, place in places.items()}
    together, *flat = laps
    seconds = {name: [lap.seconds for lap in each] for name, each in laps.items()}
    cpu = {name: [lap.cpu for lap in each] for name, each in laps.items()}
    print(f"{'':32} {'tokens':>7} {'of ideal':>9} {'s a step':>9} {'CPU-s':>7} {'gradients apart':>16}")
    for name, each in laps.items():
        tokens = each[0].said[1]
        print(
            f"{name:32} {tokens:7} {tokens / IDEAL:8.2f}x {statistics.median(seconds[name]):9.2f} "
            f"{statistics.median(cpu[name]):7.2f} {apart(found[name], found[flat[-1]]):16.1e}"
        )
    quickest = min(flat, key=lambda name: statistics.median(cpu[name]))
    print(
        f"together, over {quickest}: {ratio(seconds[together], seconds[quickest]):.2f}x the wall time, "
        f"{ratio(cpu[together], cpu[quickest]):.2f}x the CPU time (at most {TIME} needed)"
    )
    tokens = laps[together][0].said[1]
    print(f"tokens computed: {tokens}, ideal {IDEAL}, {tokens / IDEAL:.2f}x (at most {COMPUTED} needed)")
    losses = zip(*([lap.said[0] for lap in each] for each in laps.values()), strict=True)
    differing = max(max(step) - min(step) for step in losses)
    print(f"losses of {ROUNDS} steps: at most {differing:.1e} between any two (at most {EQUAL} needed)")
    assert differing <= EQUAL
    assert all(apart(each, found[flat[-1]]) <= EQUAL for each in found.values())
    assert tokens <= COMPUTED * IDEAL


if __name__ == "__main__":
    main()
