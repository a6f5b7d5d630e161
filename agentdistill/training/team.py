"""Several devices as one: who trains which part of a step, and how weights and gradients come together.

Started by ``torchrun`` (or ``accelerate launch``), each process draws the same rows and takes its share of the step's
micro-batches; the loss is divided by the supervised tokens of all of them, so that the gradient is that of one process.
Weights are the same everywhere (DDP), or each process keeps a part of them and of the optimiser (FSDP2).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from agentdistill.training.packing import Batch
from agentdistill.training.scoring import Scored

Part = TypeVar("Part")


@dataclass(frozen=True)
class Team:
    """The processes that train together; `size` 1 is a process alone.

    Attributes:
        rank: which of them this is; the first one writes what is written.
        size: how many they are.
        sharded: whether each keeps a part of the weights only.
    """

    rank: int = 0
    size: int = 1
    sharded: bool = False

    @classmethod
    def join(cls, device: torch.device, sharded: bool) -> Team:
        """The team that this process was started in, if it was; the variables are torchrun's."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        if device.type == "cuda":
            torch.cuda.set_device(device)  # where NCCL gathers what is no tensor of the model
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(dist.get_rank(), dist.get_world_size(), sharded)

    @property
    def leads(self) -> bool:
        """Whether this process writes and tells."""
        return self.rank == 0

    def wrap(self, scored: Scored) -> torch.nn.Module:
        """The model as its passes have to be called."""
        if self.size == 1:
            return scored
        if not self.sharded:
            return DistributedDataParallel(scored)
        mesh = init_device_mesh(scored.device.type, (self.size,))
        layers: Any = getattr(scored.inner.base_model, "layers", ())
        for layer in layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(scored, mesh=mesh)
        return scored

    def gathering(self, model: torch.nn.Module, last: bool) -> AbstractContextManager[None]:
        """To be entered for a pass whose gradients are brought together, if it is the `last` one of a step."""
        if isinstance(model, FSDPModule):
            model.set_requires_gradient_sync(last)
        if isinstance(model, DistributedDataParallel) and not last:
            return model.no_sync()
        return nullcontext()

    def mine(self, parts: Sequence[tuple[Part, Batch]]) -> list[tuple[Part, Batch, float]]:
        """This process's share of a step's passes, each with how much it counts: as many for all, about equally large.

        Where they do not come out even, a process does one again that counts nothing.
        """
        if self.size == 1:
            return [(part, batch, 1.0) for part, batch in parts]
        order = sorted(parts, key=lambda each: -each[1].computed)
        shares: list[list[tuple[Part, Batch, float]]] = [[] for _ in range(self.size)]
        for index, (part, batch) in enumerate(order):
            turn, place = divmod(index, self.size)
            shares[place if turn % 2 == 0 else self.size - 1 - place].append((part, batch, 1.0))
        longest = max(map(len, shares))
        own = shares[self.rank]
        return own + [(*order[-1], 0.0)] * (longest - len(own))

    def added(self, values: Mapping[str, float]) -> dict[str, float]:
        """Numbers by name, each added up over the processes that have it."""
        if self.size == 1:
            return dict(values)
        told: list[Mapping[str, float]] = [{}] * self.size
        dist.all_gather_object(told, dict(values))
        found = Counter[str]()
        for each in told:
            found.update(each)
        return dict(found)

    def whole(self, value: torch.Tensor) -> float:
        """A number that may be spread over the processes."""
        return float(value.full_tensor() if isinstance(value, DTensor) else value)

    def unwrap(self, model: torch.nn.Module, scored: Scored) -> None:
        """Make the weights whole again, in each process. What FSDP has put around the layers stays there."""
        if not isinstance(model, FSDPModule):
            return
        whole: dict[int, tuple[DTensor, torch.nn.Parameter]] = {}  # what is tied stays so
        for module in scored.modules():
            for name, value in list(module._parameters.items()):
                if isinstance(value, DTensor):
                    if id(value) not in whole:
                        made = torch.nn.Parameter(value.full_tensor().detach(), value.requires_grad)
                        whole[id(value)] = (value, made)
                    module._parameters[name] = whole[id(value)][1]

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier()


def leave_team() -> None:
    """End the group of processes that `train` has joined, if there is one, once all of them are here.

    Where a process ends straight after an exchange of tensors, gloo's threads may hold some of them still, and it is
    ended by SIGABRT though all its work is done (pytorch/pytorch#179291).
    """
    if dist.is_initialized():
        dist.barrier()  # waited for without the interpreter's lock, which those threads need
        dist.destroy_process_group()
