"""What happens to the weights: groups, the schedule of the rate, and the moving average."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from agentdistill.training.config import TrainingConfig


@contextmanager
def in_single_precision(model: torch.nn.Module) -> Iterator[None]:
    """While it lasts, weights of half precision are of single: a step of 1e-5 would be rounded away in them."""
    halves: dict[str, torch.dtype] = {}
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if value.dtype in (torch.bfloat16, torch.float16):
            halves[name] = value.dtype
            value.data = value.data.float()
    try:
        yield
    finally:
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if name in halves and not isinstance(value, DTensor):  # which only a training that broke off leaves
                value.grad = None
                value.data = value.data.to(halves[name])


def optimiser_of(model: torch.nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW on all that is trained; matrices decay, the rest does not."""
    trained = [each for each in model.parameters() if each.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [each for each in trained if each.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [each for each in trained if each.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas)


def rate_at(step: int, config: TrainingConfig) -> float:
    """The learning rate of a step, the first being 0: linear warm-up, then as `schedule` says."""
    warmup = max(1, round(config.steps * config.warmup))
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    if config.schedule == "constant":
        return config.learning_rate
    done = (step - warmup) / max(1, config.steps - warmup)
    share = config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * done))
    return config.learning_rate * share


class Average:
    """An exponential moving average of parameters, and of nothing else: average <- decay x average + (1 - decay) x now.

    Attributes:
        values: as they are, in the parameters' order.
    """

    def __init__(self, parameters: Iterable[torch.Tensor], decay: float) -> None:
        self.decay = decay
        self.parameters = [each for each in parameters if each.requires_grad]
        self.values = [each.detach().clone() for each in self.parameters]

    def update(self) -> None:
        """Take the parameters of now in."""
        with torch.no_grad():
            torch._foreach_lerp_(self.values, [each.detach() for each in self.parameters], 1 - self.decay)

    def apply(self) -> None:
        """Make the average the parameters."""
        with torch.no_grad():
            for parameter, value in zip(self.parameters, self.values, strict=True):
                parameter.copy_(value)
