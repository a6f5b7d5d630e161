"""Training on its own: the rows of any run, or of an exported data set, in; a checkpoint anybody loads out.

The folder it works in is that of a run: `run.sqlite` with the metrics of each step, the student in `model`, adapters in
`adapter`, and, while it is trained, where it is in `state`. The same call again goes on where the last one stopped.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from agentdistill.errors import ConfigError
from agentdistill.heldout import HeldOut
from agentdistill.losses import LossSpec, load_loss, name_of, needs_of
from agentdistill.losses.base import instead_of
from agentdistill.metrics import StepLog
from agentdistill.policies.local import Checkpoint
from agentdistill.policies.local.probing import longest_context
from agentdistill.results import TrainReport
from agentdistill.rollout import Watcher
from agentdistill.store import RunStore
from agentdistill.trackers import load_trackers, tracked
from agentdistill.trainable import TrainingData, is_run, read_training_data, told, without_unfit
from agentdistill.training import (
    Pool,
    Progress,
    TrainingConfig,
    check_pools,
    checkpoint_facts,
    leave_team,
    save_checkpoint,
    train,
)
from agentdistill.training.sampling import sides, supervised_tokens

LEARNING_RATE = 1e-5
"""Peak of the schedule unless it is said: for a model that can already speak, not for a tiny one made from nothing."""
MODEL = "model"
"""Where in its folder the student is kept."""
STATE = "state"
"""Where in it a training keeps how far it is, until the student is there."""
STAGE = "train"
"""What the one stage of such a run is called in its metrics."""


class FinetuneConfig(BaseModel):
    """One training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path
    """The folder of any run, that of a data set exported as `trl` or `trl-dpo`, or one file of such a set."""
    model: Checkpoint
    """The student: its `model` is a folder, or a hub id with a `revision`."""
    loss: LossSpec | None = None
    """By default `masked_cross_entropy`; `dpo` for a data set of preference pairs."""
    teacher: Checkpoint | None = None
    """A learned teacher with the student's vocabulary, for losses that need its distribution."""
    training: TrainingConfig = TrainingConfig(learning_rate=LEARNING_RATE)
    arms: tuple[str, ...] = ()
    """Of a run: from these arms only."""
    test_share: float | None = Field(default=None, ge=0, lt=1)
    """Of a run: the share of its tasks that is set aside to measure the loss on. An exported data set is split."""
    seed: int = Field(default=0, ge=0)
    """Decides the order of the rows, and dropout."""
    sharded: bool = False
    """Of several processes (torchrun), each keeps a part of the weights only."""
    trackers: tuple[str, ...] = ()
    """Where the steps are shown besides: `tensorboard`, `trackio`, `wandb`, `module:Name` or `file.py:Name`."""

    @field_validator("training", mode="before")
    @classmethod
    def _learns_gently(cls, given: Any) -> Any:
        return {"learning_rate": LEARNING_RATE, **given} if isinstance(given, dict) else given

    def identity(self, data: TrainingData, loss: LossSpec) -> dict[str, JsonValue]:
        """What decides the outcome and may not change between resumptions: not who is shown it, nor where."""
        own: Any = {"data": True, "trackers": True, "sharded": True, "model": {"device"}, "teacher": {"device"}}
        own["training"] = {"save_every"}
        kept: dict[str, JsonValue] = self.model_dump(mode="json", exclude=own)
        return {"kind": "train", **kept, "loss": loss.model_dump(mode="json"), "rows": data.digest}


def is_first() -> bool:
    """Whether this process is the one that writes and tells: alone, or the first of those that torchrun has started."""
    return int(os.environ.get("RANK", "0")) == 0


def finetune(config: FinetuneConfig, folder: Path, watch: Watcher) -> TrainReport | None:
    """Train as `config` says, in `folder`, or what is left of it; the student is then in ``folder/model``.

    Of several processes that torchrun has started, only the first one writes, and gets a report.

    Raises:
        UsageError: the configuration is at fault, nothing is left to learn from, or the folder is in use.
    """
    load_trackers(config.trackers)
    if is_first():
        _refuse_used(folder)
    spec = config.loss or LossSpec()
    wanted = needs_of(load_loss(spec))
    if config.teacher is not None and "teacher_logits" not in wanted:
        raise ConfigError(f"the loss {spec.name} asks no teacher")
    watch.begin(f"loading {config.model.model} and {config.data}")
    data = read_training_data(
        config.data,
        pairs="pairs" in wanted,
        arms=config.arms,
        test_share=config.test_share,
        tokenizer=config.model.find() if is_run(config.data) else None,
    )
    if config.loss is None and data.paired:
        spec = LossSpec(name="dpo")
    _refuse_unfit(config, spec, data)
    model, tokenizer = _placed(config.model).load()
    data = without_unfit(data, longest_context(model, tokenizer), model.config.get_text_config().vocab_size)
    if not data.train:
        raise ConfigError(f"{config.data} has nothing to train on: {told(data)}")
    watch.end(told(data))
    teacher = _load_teacher(config.teacher, tokenizer) if config.teacher else None
    pool = Pool(data.train, 1.0, load_loss(spec))
    check_pools(model, [pool], teacher)
    if not is_first():
        if checkpoint_facts(folder / MODEL) is None:
            _train(config, folder, model, pool, teacher, lambda progress: None)
        return None
    with RunStore.resume(folder, config.identity(data, spec)) as store:
        kept = store.result("training")
        if kept is not None and checkpoint_facts(folder / MODEL) is not None:
            return TrainReport.model_validate(kept)
        held_out = None
        if data.test:
            held_out = HeldOut(model, data.test, pool.loss, config.training.micro_batch_tokens, teacher)
        if checkpoint_facts(folder / MODEL) is None:
            before = held_out.measure(model) if held_out else None
            watch.begin("training", config.training.steps)
            with tracked(config.trackers, folder.resolve().name, folder, config.model_dump(mode="json")) as trackers:
                _train(config, folder, model, pool, teacher, StepLog(store, STAGE, watch, trackers))
            watch.end()
            facts = _report(config, store, data, name_of(pool.loss), before).model_dump(mode="json")
            save_checkpoint(model, tokenizer, folder / MODEL, facts, state=folder / STATE)
        report = TrainReport.model_validate(checkpoint_facts(folder / MODEL))
        if held_out is not None:
            # What is measured is what was written: in memory, a model that was sharded cannot be called any more.
            del model
            written = config.model.model_copy(update={"model": str(folder / MODEL), "adapter": None})
            after = held_out.measure(_placed(written).load()[0])
            report = report.model_copy(update={"held_out_after": after})
        store.put_result("training", report.model_dump(mode="json"))
    return report


def _train(
    config: FinetuneConfig,
    folder: Path,
    model: Any,
    pool: Pool,
    teacher: Any,
    on_step: Callable[[Progress], None],
) -> None:
    """Take all the steps, or those that are left."""
    train(
        model,
        [pool],
        config.training,
        config.seed,
        on_step,
        teacher=teacher,
        state=folder / STATE,
        adapter=folder / "adapter" if config.training.lora else None,
        sharded=config.sharded,
    )
    leave_team()


def _refuse_unfit(config: FinetuneConfig, spec: LossSpec, data: TrainingData) -> None:
    """See that rows and teacher are what the loss learns from.

    Raises:
        ConfigError: they are not.
    """
    loss = load_loss(spec)
    wanted = needs_of(loss)
    if data.paired != ("pairs" in wanted):
        has = "preference pairs" if data.paired else "segments"
        raise ConfigError(f"{config.data} has {has}, and the loss {spec.name} does not learn from them")
    if "teacher_logits" in wanted and config.teacher is None:
        told_so = instead_of(loss).get("teacher_logits") == "teacher_top"
        if not (told_so and all(row.teacher_top for rows in (data.train, data.test) for row in sides(rows))):
            raise ConfigError(f"the loss {spec.name} needs a learned teacher: name one (--teacher MODEL)")


def _placed(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint on this process's own device, where several processes share a machine's."""
    if checkpoint.device == "cuda" and "LOCAL_RANK" in os.environ:
        return checkpoint.model_copy(update={"device": f"cuda:{os.environ['LOCAL_RANK']}"})
    return checkpoint


def _report(
    config: FinetuneConfig, store: RunStore, data: TrainingData, loss: str, before: float | None
) -> TrainReport:
    """What it came to, from what every step has left in the store."""
    steps = store.metrics()[STAGE]
    tokens = sum(int(step["supervised_tokens"] or 0) for step in steps)
    return TrainReport(
        data=str(config.data),
        loss=loss,
        rows=len(data.train),
        test_rows=len(data.test),
        refused=dict(sorted(data.refused.items())),
        steps=len(steps),
        supervised_tokens=tokens,
        passes=tokens / supervised_tokens(data.train),
        first_loss=steps[0]["loss"],
        last_loss=steps[-1]["loss"],
        held_out_before=before,
    )


def _load_teacher(teacher: Checkpoint, tokenizer: Any) -> Any:
    """The learned teacher.

    Raises:
        ConfigError: it cannot be loaded, or has another vocabulary than the student.
    """
    model, its_tokenizer = _placed(teacher).load()
    if its_tokenizer.get_vocab() != tokenizer.get_vocab():
        raise ConfigError(f"the teacher {teacher.model} has another vocabulary than the student")
    return model


def _refuse_used(folder: Path) -> None:
    """See that the folder is a run's, or nobody's: what lies in another would be in the way, or worse, be replaced.

    Raises:
        ConfigError: it is somebody's.
    """
    if folder.exists() and not is_run(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not an empty folder, nor that of a run: name another one for --out")
