"""Trains a small student as one of several processes; what it comes to is written by the first. Run by test_team.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from rows import pairs, tree
from test_resuming import small

from agentdistill.losses import LossSpec, load_loss
from agentdistill.training import Pool, Progress, TrainingConfig, leave_team, train


class Stopped(Exception):
    """It was to go no further."""


def main(out: Path, state: Path | None, stop: int, sharded: bool, dtype: str) -> None:
    torch.set_default_dtype(getattr(torch, dtype))
    model, told = small(), []
    config = TrainingConfig(
        steps=6, tokens_per_step=90, micro_batch_tokens=70, learning_rate=1e-2, save_every=3, ema=0.5
    )
    pools = [Pool(tree(9, 1), 0.6), Pool(pairs(4, 2), 0.4, load_loss(LossSpec(name="dpo", options={"anchor": 1.0})))]

    def on_step(progress: Progress) -> None:
        told.append([progress.step, progress.loss, progress.gradient_norm, progress.computed_tokens])
        if progress.step == stop:
            raise Stopped

    try:
        train(model, pools, config, 5, on_step, state=state, sharded=sharded)
    except Stopped:
        pass
    else:
        if not dist.is_initialized() or dist.get_rank() == 0:
            weights = {name: value.double().flatten().tolist() for name, value in model.state_dict().items()}
            out.write_text(json.dumps({"told": told, "weights": weights}))
    leave_team()


if __name__ == "__main__":
    out, state, stop, sharded, dtype = sys.argv[1:]
    main(Path(out), Path(state) if state else None, int(stop), sharded == "sharded", dtype)
