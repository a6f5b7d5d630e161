"""Low-rank adapters, made by PEFT: around the student while it is trained, in its weights when that is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentdistill.errors import UsageError
from agentdistill.training.config import LoraConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def adapted(model: PreTrainedModel, config: LoraConfig | None, folder: Path | None = None) -> Iterator[PreTrainedModel]:
    """The model with adapters of which only they are trained; `model` itself without a `config`.

    At the end they are written to `folder`, if one is given, and merged: then `model` is what was trained. If it
    ends by an error they are taken off.

    Raises:
        UsageError: PEFT is not installed, or the model has no such layers.
    """
    if config is None:
        yield model
        return
    try:
        import peft
    except ImportError as error:
        raise UsageError("adapters need PEFT: pip install 'agentdistill[peft]'") from error
    targets: Any = config.targets if isinstance(config.targets, str) else list(config.targets)
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]
        lora_dropout=config.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    before = {name: value.requires_grad for name, value in model.named_parameters()}
    try:
        around: Any = peft.get_peft_model(model, settings)
    except ValueError as error:
        raise UsageError(f"no adapters for {', '.join(config.targets)}: {error}") from error
    try:
        yield around
        if folder is not None:
            around.save_pretrained(folder)
        around.merge_and_unload()
    except BaseException:
        around.unload()
        raise
    finally:
        for name, value in model.named_parameters():
            value.requires_grad_(before.get(name, True))
