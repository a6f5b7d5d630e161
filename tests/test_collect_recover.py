"""The whole way on our own tasks: shipped mistakes made by a weak student, mended by a teacher behind a real server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from messy import Messy, Solving
from rich.console import Console
from test_atif_harbor import ACCEPT, in_harbor
from test_trl import fed, ours, step_settings, tiny_model

from agentdistill.cli.progress import ConsoleWatcher
from agentdistill.collecting import CollectConfig, Collected, collect
from agentdistill.exporting import FORMATS, export
from agentdistill.policies.endpoint import EndpointConfig
from agentdistill.store import RunStore
from agentdistill.testing import ChatServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TASKS = Path(__file__).parent.parent / "tasks" / "recover"
WANTED = 20


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Collected]:
    """A collection on all tasks, the tiny model in whose tokens it is exported, and what it came to."""
    root = tmp_path_factory.mktemp("recover")
    tiny_model(root / "tiny", [path.read_text() for path in sorted(TASKS.rglob("recover.sh"))], context=65_536)
    with ChatServer(Messy(TASKS)) as student, ChatServer(Solving(TASKS)) as teacher:
        config = CollectConfig(
            tasks=TASKS,
            # This server counts words, which may be fewer than the tokens of the tokenizer.
            student=EndpointConfig(url=student.url, model="weak", prompt_slack=10_000),
            teacher=EndpointConfig(url=teacher.url, model="strong"),
            budget=20_000_000,
            tries=2,
            split="all",
            tokenizer=root / "tiny",
            live=8,
        )
        with ConsoleWatcher(Console(stderr=True)) as watch:
            done = collect(config, root / "run", watch)
        assert teacher.served.output_tokens == done.teacher_output
    return root / "run", root / "tiny", done


def test_the_shipped_mistakes_are_climbed_out_of(collected):
    run, _, done = collected
    assert done.tasks_tried == done.tasks
    assert done.errored == 0
    assert done.failed == done.runs  # whoever makes a mess and hands it in has failed
    with RunStore.read(run) as store:
        recoveries = [recovery for _, recovery in store.recoveries()]
    lost = {each.trajectory.task.id for each in recoveries if not each.verified}
    assert not lost
    made = {
        (each.trajectory.task.id, *(call.model_dump_json() for call in step.completion.message.tool_calls))
        for each in recoveries
        for step in each.trajectory.steps[: each.divergence.step]
    }
    assert len({name for name, *_ in made}) == done.tasks_kept >= min(WANTED, done.tasks)
    assert done.kept >= WANTED


def test_every_format_holds_all_of_them(collected, tmp_path):
    run, _, done = collected
    for form in FORMATS:
        found = export(run, form, tmp_path / form)
        assert sum(found.rows.values()) == done.kept, (form, found.refused)
        assert f"{done.kept} of {done.kept} (100.0%)" in (tmp_path / form / "README.md").read_text()


def test_harbor_accepts_the_atif_documents(collected, tmp_path):
    run, _, _ = collected
    export(run, "atif", tmp_path / "out", split_by="none")
    documents = [json.loads(line) for line in (tmp_path / "out" / "train.jsonl").read_text().splitlines()]
    answers = in_harbor(ACCEPT, documents)
    assert [answer for answer in answers if not answer["valid"]] == []
    for answer, document in zip(answers, documents, strict=True):
        assert answer["document"] == document
        learnt = [s for s in document["steps"] if s["source"] == "agent" and not s.get("is_copied_context")]
        assert {step["model_name"] for step in learnt} == {"strong"}


def test_trl_takes_a_step_on_the_rows_and_supervises_what_we_do(collected, tmp_path):
    from trl import SFTConfig, SFTTrainer

    run, tiny = collected[:2]
    trainer = SFTTrainer(
        model=str(tiny),
        args=SFTConfig(**step_settings(tmp_path), max_length=None),
        train_dataset=loaded(run, "trl", tmp_path),
    )
    wanted = [(row.input_ids, row.loss_mask) for row in ours(run).values()]
    (batch,) = fed(trainer)
    labels = batch["labels"][0].tolist()
    assert (tuple(batch["input_ids"][0].tolist()), tuple(label != -100 for label in labels)) in wanted


def test_trl_takes_a_step_on_the_pairs_and_supervises_what_we_do(collected, tmp_path):
    from trl import DPOConfig, DPOTrainer

    run, tiny = collected[:2]
    data = loaded(run, "trl-dpo", tmp_path)
    wanted = {tuple(row["prompt_ids"] + row["chosen_ids"]): row for row in data}
    trainer = DPOTrainer(
        model=str(tiny), args=DPOConfig(**step_settings(tmp_path), max_length=None), train_dataset=data
    )
    (batch,) = fed(trainer)
    row = wanted[tuple(batch["input_ids"][0][batch["attention_mask"][0].bool()].tolist())]
    start = len(row["prompt_ids"])
    for at, side in enumerate(("chosen_ids", "rejected_ids")):
        places = batch["completion_mask"][at].nonzero().flatten().tolist()
        assert places == list(range(start, start + len(row[side])))


def loaded(run: Path, form: Any, folder: Path) -> Any:
    """The rows of an export as `datasets` reads them."""
    datasets = pytest.importorskip("datasets")
    export(run, form, folder / "data", split_by="none")
    path = str(folder / "data" / "train.jsonl")
    return datasets.load_dataset("json", data_files=path, split="train", cache_dir=str(folder / "cache"))
