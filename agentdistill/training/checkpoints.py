"""What training leaves: checkpoints that anybody can load, and where an interrupted one goes on.

Both are there whole or not at all, and hold no pickles.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor, distribute_tensor

from agentdistill.training.optimising import Average
from agentdistill.training.team import Team

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MARKER = "complete.json"

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
_LENIENT = StateDictOptions(full_state_dict=True, strict=False, ignore_frozen_params=True)


def save_checkpoint(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    facts: dict[str, Any],
    *,
    state: Path | None = None,
) -> None:
    """Write a checkpoint that is there whole or not at all: its marker is written last.

    Args:
        model: the student.
        tokenizer: its.
        folder: where.
        facts: plain JSON, for `checkpoint_facts`.
        state: where `train` has kept how far it is: removed when the checkpoint is there, and not before.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    partial = _begun(folder)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    _finish(partial, folder, facts)
    if state is not None:
        for each in (state, _partial(state), _replaced(state)):
            shutil.rmtree(each, ignore_errors=True)


def checkpoint_facts(folder: Path) -> dict[str, Any] | None:
    """What was written with a checkpoint; `None` if there is none or it is not complete."""
    try:
        facts: dict[str, Any] = json.loads((folder / MARKER).read_text())
    except (OSError, ValueError):
        return None
    return facts


class Resumable:
    """Where a training is, written down now and then: what is trained, the optimiser's moments, the average.

    Rows and luck of a step follow from the seed and the step's number, so neither has to be kept. Whoever goes on may
    be more or fewer processes than those who wrote.

    Args:
        folder: where it is written.
        identity: of the training; what another one has left is passed over.
        model: as its passes are called.
        optimiser: its.
        average: of its parameters, if there is one.
        team: who trains.
    """

    def __init__(
        self,
        folder: Path,
        identity: str,
        model: torch.nn.Module,
        optimiser: torch.optim.Optimizer,
        average: Average | None,
        team: Team,
    ) -> None:
        self.folder = folder
        self.identity = identity
        self.model = model
        self.optimiser = optimiser
        self.average = average
        self.team = team

    def save(self, step: int, **facts: Any) -> None:
        """Write down that so many steps are done; `facts`, plain JSON, are among what `load` returns."""
        model: Mapping[str, Any] = get_model_state_dict(self.model, options=_WHOLE)
        tensors: dict[str, torch.Tensor] = {f"model/{name}": value for name, value in model.items()}
        state: Any = {"state": {}, "param_groups": []}
        if self.optimiser.state:  # before its first step there is none, and asking for it would count as one
            state = get_optimizer_state_dict(self.model, self.optimiser, options=_WHOLE)
        for name, moments in state.get("state", {}).items():  # which only the first process is given
            tensors |= {f"{moment}/{name}": value for moment, value in moments.items()}
        for index, value in enumerate(self.average.values if self.average else ()):
            tensors[f"average/{index}"] = value.full_tensor() if isinstance(value, DTensor) else value
        if self.team.leads:
            partial = _begun(self.folder)
            partial.mkdir(parents=True)
            # Cloned, since tied weights share their memory and the file has no word for that.
            kept = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
            save_file(kept, partial / "state.safetensors")
            told = {"identity": self.identity, "step": step, "groups": state["param_groups"], **facts}
            _finish(partial, self.folder, told)
        self.team.wait()

    def load(self) -> dict[str, Any]:
        """Go back to what was written down; its facts, with `step` 0 where there is nothing."""
        if self.team.leads:
            _settle(self.folder)
        self.team.wait()
        facts = checkpoint_facts(self.folder)
        if facts is None or facts.get("identity") != self.identity:
            return {"step": 0}
        kept = load_file(self.folder / "state.safetensors")
        parts: dict[str, dict[str, Any]] = {}
        for key, value in kept.items():
            kind, _, name = key.partition("/")
            parts.setdefault(kind, {})[name] = value
        set_model_state_dict(self.model, parts.pop("model"), options=_LENIENT)
        averaged = parts.pop("average", {})
        moments: dict[str, dict[str, Any]] = {}
        for kind, by_name in parts.items():
            for name, value in by_name.items():
                moments.setdefault(name, {})[kind] = value
        if moments:
            state: Any = {"state": moments, "param_groups": facts["groups"]}
            set_optimizer_state_dict(self.model, self.optimiser, state, options=_LENIENT)
        for index, value in enumerate(self.average.values if self.average else ()):
            found = averaged[str(index)].to(value.device)
            value.copy_(
                distribute_tensor(found, value.device_mesh, value.placements) if isinstance(value, DTensor) else found
            )
        return facts


def _partial(folder: Path) -> Path:
    """Where a folder is put together."""
    return folder.with_name(folder.name + ".partial")


def _replaced(folder: Path) -> Path:
    """Where one goes that another takes the place of."""
    return folder.with_name(folder.name + ".replaced")


def _begun(folder: Path) -> Path:
    partial = _partial(folder)
    shutil.rmtree(partial, ignore_errors=True)
    return partial


def _finish(partial: Path, folder: Path, facts: dict[str, Any]) -> None:
    """Its marker is written last; then it takes the place of what was there, which is whole until then."""
    (partial / MARKER).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
    replaced = _replaced(folder)
    shutil.rmtree(replaced, ignore_errors=True)
    if folder.exists():
        os.replace(folder, replaced)  # not removed file by file: a kill would leave a marker without what it marks
    os.replace(partial, folder)
    shutil.rmtree(replaced, ignore_errors=True)


def _settle(folder: Path) -> None:
    """What a kill has left between the two moves of `_finish` is moved on."""
    if not folder.exists() and checkpoint_facts(_partial(folder)) is not None:
        os.replace(_partial(folder), folder)
