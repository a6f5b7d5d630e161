"""Training on its own: the rows of any run, or of an exported data set, in; a checkpoint anybody loads out.

The folder it works in is that of a run: `run.sqlite` with the metrics of each step, and the student in `model`. The
same call again goes on where the last one stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from agentdistill.batching import supervised_tokens
from agentdistill.errors import ConfigError
from agentdistill.heldout import HeldOut
from agentdistill.losses import LossSpec, load_loss, name_of, needs_of
from agentdistill.metrics import StepLog
from agentdistill.policies.local import Checkpoint
from agentdistill.policies.local.probing import longest_context
from agentdistill.results import TrainReport
from agentdistill.rollout import Watcher
from agentdistill.store import RunStore
from agentdistill.trackers import load_trackers, tracked
from agentdistill.trainable import TrainingData, is_run, read_training_data, told, without_unfit
from agentdistill.training import Pool, TrainingConfig, checkpoint_facts, save_checkpoint, train

LEARNING_RATE = 1e-5
"""Peak of the schedule unless it is said: for a model that can already speak, not for a tiny one made from nothing."""
MODEL = "model"
"""Where in its folder the student is kept."""
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
    """Decides the order of the rows."""
    trackers: tuple[str, ...] = ()
    """Where the steps are shown besides: `tensorboard`, `trackio`, `wandb`, `module:Name` or `file.py:Name`."""

    @field_validator("training", mode="before")
    @classmethod
    def _learns_gently(cls, given: Any) -> Any:
        return {"learning_rate": LEARNING_RATE, **given} if isinstance(given, dict) else given

    def identity(self, data: TrainingData, loss: LossSpec) -> dict[str, JsonValue]:
        """What decides the outcome and may not change between resumptions: not who is shown it, nor where."""
        own: Any = {"data": True, "trackers": True, "model": {"device"}, "teacher": {"device"}}
        kept: dict[str, JsonValue] = self.model_dump(mode="json", exclude=own)
        return {"kind": "train", **kept, "loss": loss.model_dump(mode="json"), "rows": data.digest}


def finetune(config: FinetuneConfig, folder: Path, watch: Watcher) -> TrainReport:
    """Train as `config` says, in `folder`, or what is left of it; the student is then in ``folder/model``.

    Raises:
        UsageError: the configuration is at fault, nothing is left to learn from, or the folder is in use.
    """
    load_trackers(config.trackers)
    _refuse_used(folder)
    spec = config.loss or LossSpec()
    wanted = needs_of(load_loss(spec))
    if (config.teacher is not None) != ("teacher_logits" in wanted):
        lacks = "needs a learned teacher: name one (--teacher MODEL)" if config.teacher is None else "asks no teacher"
        raise ConfigError(f"the loss {spec.name} {lacks}")
    watch.begin(f"loading {config.model.model} and {config.data}")
    model, tokenizer, data = _open(config, "pairs" in wanted)
    if config.loss is None and data.paired:
        spec = LossSpec(name="dpo")
    loss = load_loss(spec)
    if data.paired != ("pairs" in needs_of(loss)):
        has = "preference pairs" if data.paired else "segments"
        raise ConfigError(f"{config.data} has {has}, and the loss {spec.name} does not learn from them")
    watch.end(told(data))
    teacher = _load_teacher(config.teacher, tokenizer) if config.teacher else None
    with RunStore.resume(folder, config.identity(data, spec)) as store:
        facts = checkpoint_facts(folder / MODEL)
        if facts is None:
            held_out = (
                HeldOut(model, data.test, loss, config.training.micro_batch_tokens, teacher) if data.test else None
            )
            before = held_out.measure(model) if held_out else None
            _train(config, folder, store, watch, model, Pool(data.train, 1.0, loss), teacher)
            after = held_out.measure(model) if held_out else None
            report = _report(config, store, data, name_of(loss), before, after)
            facts = report.model_dump(mode="json")
            save_checkpoint(model, tokenizer, folder / MODEL, facts)
        store.put_result("training", facts)
    return TrainReport.model_validate(facts)


def _train(
    config: FinetuneConfig, folder: Path, store: RunStore, watch: Watcher, model: Any, pool: Pool, teacher: Any
) -> None:
    """Take all the steps, each of them told to whoever wants to know."""
    watch.begin("training", config.training.steps)
    with tracked(config.trackers, folder.resolve().name, folder, config.model_dump(mode="json")) as trackers:
        log = StepLog(store, STAGE, watch, trackers)
        train(model, [pool], config.training, config.seed, log, teacher=teacher)
    watch.end()


def _report(
    config: FinetuneConfig,
    store: RunStore,
    data: TrainingData,
    loss: str,
    before: float | None,
    after: float | None,
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
        held_out_after=after,
    )


def _open(config: FinetuneConfig, pairs: bool) -> tuple[Any, Any, TrainingData]:
    """The student, its tokenizer, and the rows that it can learn from.

    Raises:
        UsageError: one of them is not to be had, or no row is left.
    """
    data = read_training_data(
        config.data,
        pairs=pairs,
        arms=config.arms,
        test_share=config.test_share,
        tokenizer=config.model.find() if is_run(config.data) else None,
    )
    model, tokenizer = config.model.load()
    data = without_unfit(data, longest_context(model, tokenizer), model.config.get_text_config().vocab_size)
    if not data.train:
        raise ConfigError(f"{config.data} has nothing to train on: {told(data)}")
    return model, tokenizer, data


def _load_teacher(teacher: Checkpoint, tokenizer: Any) -> Any:
    """The learned teacher.

    Raises:
        ConfigError: it cannot be loaded, or has another vocabulary than the student.
    """
    model, its_tokenizer = teacher.load()
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
