"""TRL's own trainers take a step on what is exported, and supervise exactly the positions that we do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from messy import Messy, Solving, write_task
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer

from agentdistill.cli.progress import ConsoleWatcher
from agentdistill.collecting import CollectConfig, collect
from agentdistill.exporting import export
from agentdistill.kept import arms_of, kept_rows, kept_traces, open_reader
from agentdistill.policies.endpoint import EndpointConfig
from agentdistill.policies.tiny import TinyConfig, make_student, make_tokenizer, save_student
from agentdistill.records import Segment
from agentdistill.store import RunStore
from agentdistill.testing import ChatServer

datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run with six recoveries, and the folder of a tiny model with the tokenizer its rows are made with."""
    root = tmp_path_factory.mktemp("trl")
    for name in ("one", "two", "three"):
        write_task(root / "tasks", name, messes=2)
    tiny_model(root / "tiny", ['{"name": "bash", "arguments": {"command": "cat adder.py; mv add0.py adder.py"}}'])
    with ChatServer(Messy(root / "tasks")) as student, ChatServer(Solving(root / "tasks")) as teacher:
        config = CollectConfig(
            tasks=root / "tasks",
            student=EndpointConfig(url=student.url, model="weak"),
            teacher=EndpointConfig(url=teacher.url, model="strong"),
            budget=500_000,
            tries=2,
            tokenizer=root / "tiny",
        )
        with ConsoleWatcher(Console(stderr=True)) as watch:
            assert collect(config, root / "run", watch).kept == 6
    return root / "run", root / "tiny"


def tiny_model(folder: Path, texts: list[str], context: int = 8192) -> None:
    """Write a tiny model and a tokenizer that has seen these texts."""
    size = TinyConfig(vocabulary=500, hidden=16, layers=1, heads=2, context=context)
    tokenizer = make_tokenizer(texts, size)
    save_student(make_student(tokenizer, size, 0), tokenizer, folder)


def ours(run: Path) -> dict[str, Segment]:
    """The segments of the run, by their ids."""
    with RunStore.read(run) as store:
        arms = arms_of(store)
        kept, _ = kept_traces(store, arms)
        return {row.id: row for _, row in kept_rows(store, arms, kept, open_reader(store, kept)).rows}


def fed(trainer: Any) -> list[dict[str, torch.Tensor]]:
    """The batches that the trainer really feeds to its model in one epoch, noted as it takes its steps."""
    seen: list[dict[str, torch.Tensor]] = []
    compute = trainer.compute_loss

    def noting(model: Any, inputs: dict[str, Any], *arguments: Any, **named: Any) -> Any:
        seen.append({name: value.clone() for name, value in inputs.items() if isinstance(value, torch.Tensor)})
        return compute(model, inputs, *arguments, **named)

    trainer.compute_loss = noting
    trainer.train()
    return seen


def common(out: Path) -> dict[str, Any]:
    """Settings of an epoch on a CPU."""
    return {
        "output_dir": str(out),
        "per_device_train_batch_size": 1,
        "num_train_epochs": 1,
        "report_to": [],
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": False,
        "disable_tqdm": True,
        "gradient_checkpointing": False,
    }


def step_settings(out: Path) -> dict[str, Any]:
    """Settings of one step."""
    return common(out) | {"max_steps": 1}


@pytest.mark.parametrize("parquet", [False, True], ids=["lines", "parquet"])
def test_supervised_fine_tuning_supervises_exactly_the_segments(collected, tmp_path, parquet):
    from trl import SFTConfig, SFTTrainer

    run, tiny = collected
    export(run, "trl", tmp_path / "data", split_by="none", parquet=parquet)
    kind, ending = ("parquet", "parquet") if parquet else ("json", "jsonl")
    path = str(tmp_path / "data" / f"train.{ending}")
    data = datasets.load_dataset(kind, data_files=path, split="train", cache_dir=str(tmp_path / "cache"))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny), AutoTokenizer.from_pretrained(tiny)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(**common(tmp_path), max_length=None),
        train_dataset=data,
        processing_class=tokenizer,
    )
    wanted = [(row.input_ids, row.loss_mask) for row in ours(run).values()]  # two may be equal
    batches = fed(trainer)
    assert len(batches) == len(wanted) == 6
    for batch in batches:
        ids, labels = tuple(batch["input_ids"][0].tolist()), batch["labels"][0].tolist()
        mask = tuple(label != -100 for label in labels)
        wanted.remove((ids, mask))
        assert [label for label in labels if label != -100] == [
            token for token, here in zip(ids, mask, strict=True) if here
        ]
    assert not wanted
    assert any(not torch.equal(before[name], value.cpu()) for name, value in model.state_dict().items())


@pytest.mark.parametrize("exact", [False, True], ids=["as it renders", "in our ids"])
def test_preference_training_supervises_exactly_the_pairs(collected, tmp_path, exact):
    from trl import DPOConfig, DPOTrainer

    class InOurIds(DPOTrainer):
        """Takes prompt_ids, chosen_ids and rejected_ids as they are."""

        def _prepare_dataset(self, dataset: Any, *others: Any) -> Any:
            return dataset

    run, tiny = collected
    export(run, "trl-dpo", tmp_path / "data", split_by="none")
    rows = [json.loads(line) for line in (tmp_path / "data" / "train.jsonl").read_text().splitlines()]
    path = str(tmp_path / "data" / "train.jsonl")
    data = datasets.load_dataset("json", data_files=path, split="train", cache_dir=str(tmp_path / "cache"))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny), AutoTokenizer.from_pretrained(tiny)
    trainer = (InOurIds if exact else DPOTrainer)(
        model=model,
        args=DPOConfig(**common(tmp_path), max_length=None),
        train_dataset=data,
        processing_class=tokenizer,
    )
    wanted = [tuple(tuple(row[name]) for name in ("prompt_ids", "chosen_ids", "rejected_ids")) for row in rows]
    batches = fed(trainer)
    assert len(batches) == len(wanted) == 6
    for batch in batches:
        sides = []
        for at, ids in enumerate(batch["input_ids"]):
            shown = ids[batch["attention_mask"][at].bool()].tolist()
            places = batch["completion_mask"][at].nonzero().flatten().tolist()
            assert places == list(range(places[0], len(shown)))
            sides.append((tuple(shown[: places[0]]), tuple(shown[places[0] :])))
        (prompt, chosen), (same, rejected) = sides
        assert prompt == same
        wanted.remove((prompt, chosen, rejected))
    assert not wanted


def test_what_carries_loss_is_the_teachers_turns_and_nothing_else(collected):
    run, tiny = collected
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    for row in ours(run).values():
        learnt = tokenizer.decode([t for t, here in zip(row.input_ids, row.loss_mask, strict=True) if here])
        assert learnt.count("<|end|>") == 2
        assert "RECOVER" in learnt
        assert '"submit"' in learnt
        assert "It has to multiply." not in learnt
