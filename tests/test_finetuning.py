"""Training on its own: exactly the rows go in, what comes out anybody loads, and what cannot be learnt is told."""

from __future__ import annotations

import json
import math
import os
import signal
import sqlite3
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from students import SMALL, clean_segments, clean_traces, depot_tokenizer, untrained
from test_cli import COMMAND, one_line, typed
from transformers import AutoModelForCausalLM, AutoTokenizer

from agentdistill.formats.tables import split_of, write_rows
from agentdistill.formats.trl import IGNORED, sft_row
from agentdistill.formats.trl_dpo import dpo_ids
from agentdistill.policies.local import LocalPolicy
from agentdistill.policies.tiny import make_student, make_tokenizer
from agentdistill.recipes import CleanRecipe
from agentdistill.records import PreferencePair, Segment
from agentdistill.store import FILE, EpisodeKey, RunStore
from agentdistill.trainable import read_training_data
from agentdistill.training import save_checkpoint

QUICK = ("--set", "training.steps=6", "--set", "training.tokens_per_step=120", "--set", "training.learning_rate=3e-3")


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("student") / "model"
    save_checkpoint(untrained(), depot_tokenizer(), folder, {})
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that holds clean traces and knows no tokenizer, as one of `collect` behind two servers."""
    folder = tmp_path_factory.mktemp("traces") / "run"
    with RunStore.resume(folder, {"base": CleanRecipe().model_dump(mode="json")}) as store:
        store.save_trajectories(
            (EpisodeKey(stage="clean", arm="base", round=0, task_id=trace.task.id), trace) for trace in clean_traces()
        )
    return folder


def exported(folder: Path, train: Sequence[Segment], test: Sequence[Segment] = (), ending: str = "jsonl") -> Path:
    for name, rows in (("train", train), ("test", test)):
        if rows:
            write_rows(({**sft_row(row), "id": row.id, "kind": row.kind} for row in rows), folder / f"{name}.{ending}")
    return folder


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def pairs(count: int = 6) -> list[PreferencePair]:
    """What one trace says against what another says, behind the same prompt."""
    made = []
    for at in range(count):
        better, worse = clean_segments()[at], clean_segments()[at + 1]
        first = better.loss_mask.index(True)
        ids = (better.input_ids[: first + 12], better.input_ids[:first] + worse.input_ids[first + 1 : first + 9])
        chosen, rejected = (
            Segment(
                id=f"{at}-{name}",
                kind="recovery",
                trajectory_id=str(at),
                input_ids=each,
                loss_mask=(False,) * first + (True,) * (len(each) - first),
            )
            for name, each in zip(("chosen", "rejected"), ids, strict=True)
        )
        made.append(
            PreferencePair(
                id=str(at), trajectory_id=str(at), step=0, chosen=chosen, rejected=rejected, source="takeover"
            )
        )
    return made


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# ---- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_exported_segments_come_back_with_their_ids_and_masks(tmp_path, ending):
    rows = clean_segments()
    data = read_training_data(exported(tmp_path, rows[:20], rows[20:], ending))
    for found, wanted in ((data.train, rows[:20]), (data.test, rows[20:])):
        assert [(each.id, each.input_ids, each.loss_mask) for each in found] == [
            (each.id, each.input_ids, each.loss_mask) for each in wanted
        ]


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_exported_pairs_come_back_with_their_ids_and_masks(tmp_path, ending):
    write_rows(({**dpo_ids(pair), "id": pair.id} for pair in pairs()), tmp_path / f"train.{ending}")
    data = read_training_data(tmp_path / f"train.{ending}")
    assert data.paired
    for found, wanted in zip(data.train, pairs(), strict=True):
        for side, other in ((found.chosen, wanted.chosen), (found.rejected, wanted.rejected)):
            assert (side.input_ids, side.loss_mask) == (other.input_ids, other.loss_mask)


def test_a_label_on_the_first_token_of_all_is_left_out(tmp_path):
    data = read_training_data(lines(tmp_path / "a.jsonl", {"input_ids": [5, 6, 7], "labels": [5, IGNORED, 7]}))
    assert data.train[0].loss_mask == (False, False, True)
    write = {"prompt_ids": [], "chosen_ids": [5, 6], "rejected_ids": [7, 8]}
    pair = read_training_data(lines(tmp_path / "b.jsonl", write)).train[0]
    assert pair.chosen.loss_mask == pair.rejected.loss_mask == (False, True)


def test_a_run_gives_the_rows_of_its_traces_in_the_students_tokens(run, student):
    data = read_training_data(run, tokenizer=student)
    made = {row.trajectory_id: (row.input_ids, row.loss_mask) for row in clean_segments()}
    assert {row.trajectory_id: (row.input_ids, row.loss_mask) for row in data.train} == made


def test_a_share_of_a_runs_tasks_is_set_aside_as_an_export_would(run, student):
    data = read_training_data(run, tokenizer=student, test_share=0.4)
    sides = {trace.id: split_of(trace.task.content_hash, 0.4) for trace in clean_traces()}
    assert len(data.train) > 0
    assert len(data.test) > 0
    assert {sides[row.trajectory_id] for row in data.train} == {"train"}
    assert {sides[row.trajectory_id] for row in data.test} == {"test"}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"input_ids": [1, 2], "labels": [1]}, "row 1: 2 input_ids and 1 labels"),
        ({"input_ids": [1, 2], "labels": [-100, 3]}, "neither -100 nor the token"),
        ({"input_ids": [1, -2], "labels": [-100, -2]}, "input_ids.1"),
        ({"input_ids": [1, "x"], "labels": [-100, -100]}, "input_ids.1"),
        ({"input_ids": "text", "labels": []}, "input_ids"),
        ({"prompt_ids": [1], "chosen_ids": [2]}, "rejected_ids"),
        ({"prompt": [], "chosen": [], "rejected": []}, "--tokenizer"),
        ({"messages": []}, "--format trl"),
        ({"input_ids": [1, 9999], "labels": [-100, 9999]}, "another tokenizer"),
    ],
)
def test_a_row_that_is_none_is_one_line(capsys, tmp_path, student, row, expected):
    path = lines(tmp_path / "rows.jsonl", row)
    said = one_line_last(typed(capsys, "train", path, "--model", student, "--out", tmp_path / "out"))
    assert expected in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "\n", "[1]\n", "{'a': 1}\n", '{"input_ids": [1\n'])
def test_a_file_that_holds_no_rows_is_one_line(capsys, tmp_path, student, text):
    (tmp_path / "rows.jsonl").write_text(text)
    said = one_line_last(typed(capsys, "train", tmp_path / "rows.jsonl", "--model", student, "--out", tmp_path / "out"))
    assert "rows.jsonl" in said
    assert not (tmp_path / "out").exists()


def one_line_last(said: tuple[int, str, str]) -> str:
    """The line of the error, behind those of stages that went well."""
    code, out, err = said
    *stages, last = err.splitlines()
    assert all(" s  " in each for each in stages), err
    return one_line((code, out, last + "\n"))


def test_what_cannot_be_learnt_is_refused_counted_and_changes_nothing(capsys, tmp_path, student):
    good = list(clean_segments()[:8])
    long = good[0].model_copy(
        update={"id": "long", "input_ids": good[0].input_ids * 9, "loss_mask": good[0].loss_mask * 9}
    )
    silent = good[1].model_copy(update={"id": "silent", "loss_mask": (False,) * len(good[1].input_ids)})
    first = good[2].model_copy(update={"id": "first", "loss_mask": (True,) + (False,) * (len(good[2].input_ids) - 1)})
    assert len(long.input_ids) > SMALL.context
    exported(tmp_path / "good", good)
    exported(tmp_path / "mixed", [silent, *good[:4], long, *good[4:], first])
    told = {}
    for name in ("good", "mixed"):
        out = tmp_path / f"{name}-out"
        code, said, _ = typed(capsys, "train", tmp_path / name, "--model", student, "--out", out, *QUICK, "--json")
        assert code == 0
        told[name] = json.loads(said)
    assert told["good"]["refused"] == {}
    assert told["mixed"]["refused"] == {"longer than the student's context": 1, "without a supervised token": 2}
    assert told["mixed"]["rows"] == 8
    assert same(weights(tmp_path / "good-out"), weights(tmp_path / "mixed-out"))
    exported(tmp_path / "bad", [long, silent])
    line = one_line_last(typed(capsys, "train", tmp_path / "bad", "--model", student, "--out", tmp_path / "out"))
    assert "nothing to train on" in line
    assert "1 longer than the student's context, 1 without a supervised token" in line


# ---- training --------------------------------------------------------------------------------------------------------


def test_plain_transformers_loads_what_comes_out_and_the_held_out_loss_is_the_formula(capsys, tmp_path, student):
    rows = clean_segments()
    data, out = exported(tmp_path / "data", rows[:18], rows[18:]), tmp_path / "out"
    more = ("--set", "training.steps=30", "--json")
    code, said, _ = typed(capsys, "train", data, "--model", student, "--out", out, *QUICK, *more)
    told = json.loads(said)
    assert code == 0
    assert told["checkpoint"] == str(out / "model")
    assert told["held_out_after"] < told["held_out_before"] - 0.5
    assert (told["rows"], told["test_rows"], told["steps"]) == (18, 6, 30)
    for folder, expected in ((student, told["held_out_before"]), (out / "model", told["held_out_after"])):
        model = AutoModelForCausalLM.from_pretrained(folder)
        lost, tokens = 0.0, 0
        for row in rows[18:]:
            ids, mask = torch.tensor([row.input_ids]), torch.tensor([row.loss_mask])
            labels = ids.masked_fill(~mask, IGNORED)
            with torch.no_grad():
                lost += float(model(input_ids=ids, labels=labels).loss) * row.supervised
            tokens += row.supervised
        assert lost / tokens == pytest.approx(expected, rel=1e-4)
    tokenizer = AutoTokenizer.from_pretrained(out / "model")
    assert tokenizer.chat_template == depot_tokenizer().chat_template
    assert LocalPolicy.load(out / "model").context == SMALL.context


def test_a_run_and_its_export_train_the_same_student(capsys, tmp_path, student, run):
    code, _, err = typed(capsys, "export", run, "--format", "trl", "--tokenizer", student, "--out", tmp_path / "data")
    assert code == 0, err
    for name, data, more in (("a", run, ("--set", "test_share=0.1")), ("b", tmp_path / "data", ())):
        code, _, err = typed(capsys, "train", data, "--model", student, "--out", tmp_path / name, *QUICK, *more)
        assert code == 0, err
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), load_file(student / "model.safetensors").copy())


def test_the_same_command_again_trains_nothing_and_says_the_same(capsys, tmp_path, student):
    data = exported(tmp_path / "data", clean_segments()[:8])
    command = ("train", data, "--model", student, "--out", tmp_path / "out", *QUICK)
    _, first, _ = typed(capsys, *command)
    before = (tmp_path / "out" / "model" / "model.safetensors").stat().st_mtime_ns
    code, again, err = typed(capsys, *command)
    assert (code, again) == (0, first)
    assert "training" not in err
    assert (tmp_path / "out" / "model" / "model.safetensors").stat().st_mtime_ns == before
    assert first.count("\n") == 1
    assert first.removeprefix(f"{tmp_path / 'out' / 'model'}: ") == typed(capsys, "report", tmp_path / "out")[1]


@pytest.mark.parametrize("change", ["training.steps=7", "seed=1", "loss=examples/own_loss.py:focal"])
def test_another_training_in_the_same_folder_is_one_line(capsys, tmp_path, student, change):
    data = exported(tmp_path / "data", clean_segments()[:8])
    command = ("train", data, "--model", student, "--out", tmp_path / "out", *QUICK)
    typed(capsys, *command)
    assert "now it is" in one_line_last(typed(capsys, *command, "--set", change))


def test_other_rows_in_the_same_folder_are_one_line(capsys, tmp_path, student):
    data = exported(tmp_path / "data", clean_segments()[:8])
    command = ("train", data, "--model", student, "--out", tmp_path / "out", *QUICK)
    typed(capsys, *command)
    exported(data, clean_segments()[1:9])
    assert "made with rows" in one_line_last(typed(capsys, *command))


def test_a_folder_of_somebody_elses_is_left_alone(capsys, tmp_path, student):
    data = exported(tmp_path / "data", clean_segments()[:8])
    for used in (data, student):
        before = sorted(path.name for path in used.iterdir())
        assert "not an empty folder" in one_line(typed(capsys, "train", data, "--model", student, "--out", used))
        assert sorted(path.name for path in used.iterdir()) == before


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--loss", "reverse_kl"), "--teacher"),
        (("--teacher", "nowhere"), "asks no teacher"),
        (("--loss", "revrse_kl"), "Did you mean 'reverse_kl'"),
        (("--loss", "{name = 'dpo', options = {beat = 1}}"), "Did you mean 'beta'"),
        (("--loss", "dpo"), "has segments"),
        (("--loss", "reverse_kl_policy_gradient"), "needs logprobs"),
        (("--tracker", "tensorbord"), "Did you mean 'tensorboard'"),
        (("--arm", "base"), "is for the folder of a run"),
        (("--set", "test_share=0.5"), "is for the folder of a run"),
        (("--set", "training.stesp=3"), "Did you mean 'steps'"),
        (("--set", "model.devise=cuda"), "Did you mean 'device'"),
        (("--config", "nowhere.toml"), "no config file"),
        (("--model", "nowhere"), "no model can be loaded"),
        (("--loss", "reverse_kl", "--teacher", "nowhere"), "no model can be loaded"),
    ],
)
def test_what_does_not_fit_is_one_line(capsys, tmp_path, student, more, expected):
    data = exported(tmp_path / "data", clean_segments()[:4])
    said = typed(capsys, "train", data, "--model", student, "--out", tmp_path / "out", *more)
    assert expected in one_line_last(said)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "--out"),
        (("--out", "out"), "'data' is missing"),
        (("/nowhere", "--out", "out"), "'model' is missing"),
        (("/nowhere", "--out", "out", "--model", "m"), "not the folder of a run"),
    ],
)
def test_what_is_missing_is_one_line(capsys, arguments, expected):
    assert expected in one_line(typed(capsys, "train", *arguments))


def test_a_student_with_another_vocabulary_than_the_runs_is_refused(capsys, tmp_path, run):
    other = make_tokenizer(["other words altogether"], SMALL)
    save_checkpoint(make_student(other, SMALL, 0), other, tmp_path / "other", {})
    with RunStore.resume(tmp_path / "run", {"base": CleanRecipe().model_dump(mode="json")}) as store:
        store.save_trajectories(
            (EpisodeKey(stage="clean", arm="base", round=0, task_id=trace.task.id), trace) for trace in clean_traces()
        )
    save_checkpoint(untrained(), depot_tokenizer(), tmp_path / "run" / "checkpoints" / "untrained", {})
    command = ("train", tmp_path / "run", "--model", tmp_path / "other", "--out", tmp_path / "out")
    assert "another vocabulary" in one_line(typed(capsys, *command))


def test_a_teacher_with_another_vocabulary_is_refused(capsys, tmp_path, student):
    other = make_tokenizer(["other words altogether"], SMALL)
    save_checkpoint(make_student(other, SMALL, 0), other, tmp_path / "other", {})
    data = exported(tmp_path / "data", clean_segments()[:4])
    command = ("train", data, "--model", student, "--out", tmp_path / "out", "--loss", "forward_kl")
    assert "another vocabulary" in one_line_last(typed(capsys, *command, "--teacher", tmp_path / "other"))


def test_preference_pairs_are_learnt_by_dpo_unless_it_is_said_otherwise(capsys, tmp_path, student):
    write_rows((dpo_ids(pair) for pair in pairs()), tmp_path / "data" / "train.jsonl")
    write_rows((dpo_ids(pair) for pair in pairs()[:2]), tmp_path / "data" / "test.jsonl")
    code, said, _ = typed(
        capsys, "train", tmp_path / "data", "--model", student, "--out", tmp_path / "out", *QUICK, "--json"
    )
    told = json.loads(said)
    assert (code, told["loss"]) == (0, "dpo")
    assert told["first_loss"] == pytest.approx(math.log(2), rel=1e-4)
    assert told["held_out_before"] == pytest.approx(math.log(2), rel=1e-4)
    assert told["held_out_after"] < told["held_out_before"]


def test_a_divergence_asks_the_teacher_that_is_named(capsys, tmp_path, student):
    data = exported(tmp_path / "data", clean_segments()[:8], clean_segments()[8:12])
    save_checkpoint(untrained(1), depot_tokenizer(), tmp_path / "teacher", {})
    told = {}
    for name, teacher in (("itself", student), ("another", tmp_path / "teacher")):
        out = tmp_path / name
        command = ("train", data, "--model", student, "--out", out, "--loss", "forward_kl", "--teacher", teacher)
        code, said, err = typed(capsys, *command, *QUICK, "--json")
        assert code == 0, err
        told[name] = json.loads(said)
    assert told["itself"]["held_out_before"] == pytest.approx(0.0, abs=1e-5)
    assert told["another"]["held_out_before"] > 0.01


def test_a_file_is_overridden_by_flags_and_those_by_set(capsys, tmp_path, student):
    data = exported(tmp_path / "data", clean_segments()[:8])
    config = tmp_path / "own.toml"
    config.write_text(
        """data = "/nowhere"
model = {model = "/nowhere", dtype = "float32"}
loss = {name = "examples/own_loss.py:focal", options = {gamma = 2.0}}
[training]
steps = 5
tokens_per_step = 50
"""
    )
    command = ("train", data, "--config", config, "--model", student, "--out", tmp_path / "out", "--json")
    code, said, err = typed(capsys, *command, "--set", "training.steps=2")
    assert code == 0, err
    told = json.loads(said)
    assert (told["loss"], told["steps"]) == ("focal", 2)
    with RunStore.read(tmp_path / "out") as store:
        assert store.config["training"]["learning_rate"] == 1e-5
        assert store.config["model"]["dtype"] == "float32"
        assert "focal/likely" in store.metrics()["train"][0]


# ---- the course of it ------------------------------------------------------------------------------------------------

SEEN = """
class Seen:
    def start(self, name, folder, config):
        pass

    def log(self, step, metrics):
        print("step", step)

    def close(self):
        pass
"""
KILLER = """
import os, signal


class Killer:
    def start(self, name, folder, config):
        pass

    def log(self, step, metrics):
        if step == 4:
            os.kill(os.getpid(), signal.SIGKILL)

    def close(self):
        pass
"""


@pytest.mark.parametrize(("save_every", "first"), [(200, 1), (2, 3)])
def test_what_was_measured_outlives_a_kill_and_is_not_there_twice_when_training_goes_on(
    capsys, tmp_path, student, save_every, first
):
    data = exported(tmp_path / "data", clean_segments()[:8])
    (tmp_path / "killer.py").write_text(KILLER)
    out = tmp_path / "out"
    saving = ("--set", f"training.save_every={save_every}")
    command = ["train", str(data), "--model", str(student), "--out", str(out), *QUICK, *saving]
    killed = subprocess.run(
        [COMMAND, *command, "--tracker", f"{tmp_path}/killer.py:Killer"],
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    code, said, _ = typed(capsys, "metrics", out, "--json")
    assert code == 0
    left = json.loads(said)["stages"]["train"]
    assert [step["step"] for step in left] == [1, 2, 3, 4]
    assert typed(capsys, "report", out)[0] == 2
    (tmp_path / "seen.py").write_text(SEEN)
    code, _, err = typed(capsys, *command, "--tracker", f"{tmp_path}/seen.py:Seen")
    assert code == 0
    assert f"step {first}\n" in err
    assert f"step {first - 1}\n" not in err
    steps = json.loads(typed(capsys, "metrics", out, "--json")[1])["stages"]["train"]
    assert [step["step"] for step in steps] == [1, 2, 3, 4, 5, 6]
    assert [step["loss"] for step in steps[:4]] == [step["loss"] for step in left]
    whole = tmp_path / "whole"
    assert typed(capsys, "train", data, "--model", student, "--out", whole, *QUICK)[0] == 0
    assert same(weights(out), weights(whole))
    assert {"loss", "learning_rate", "gradient_norm", "supervised_tokens", "tokens_per_second"} <= steps[0].keys()
    table = typed(capsys, "metrics", out)[1]
    assert "train" in table
    assert f"{steps[-1]['loss']:.3f}" in table


def test_progress_says_loss_speed_and_gradient_norm(tmp_path, student):
    from agentdistill.finetuning import FinetuneConfig, finetune

    notes: list[str] = []

    class Noting:
        def begin(self, stage: str, total: int | None = None) -> None: ...
        def end(self, note: str = "") -> None: ...
        def advance(self, amount: int = 1, note: str = "") -> None:
            notes.append(note)

    data = exported(tmp_path / "data", clean_segments()[:8])
    training = {"steps": 3, "tokens_per_step": 60}
    config = FinetuneConfig.model_validate({"data": data, "model": {"model": str(student)}, "training": training})
    finetune(config, tmp_path / "out", Noting())
    assert len(notes) == 3
    assert all("loss" in note and "tokens/s" in note and "gradient norm" in note for note in notes)


def test_a_run_without_a_step_of_training_is_one_line(capsys, run):
    assert "not taken a step" in one_line(typed(capsys, "metrics", run))
    assert json.loads(typed(capsys, "metrics", run, "--json")[1]) == {"stages": {}}
    assert os.path.exists(run)


@pytest.mark.slow
@pytest.mark.parametrize("sharded", ["false", "true"])
def test_two_processes_come_to_what_one_comes_to(capsys, tmp_path, student, sharded):
    data = exported(tmp_path / "data", clean_segments()[:8], clean_segments()[8:12])
    torchrun = [str(Path(COMMAND).with_name("torchrun")), "--nproc-per-node", "2", "--no-python", COMMAND]
    command = ["train", str(data), "--model", str(student), *QUICK, "--json"]
    done = subprocess.run(
        [*torchrun, *command, "--out", str(tmp_path / "two"), "--set", f"sharded={sharded}"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    two = json.loads(done.stdout)
    one = json.loads(typed(capsys, *command, "--out", tmp_path / "one")[1])
    for key in ("first_loss", "last_loss", "held_out_before", "held_out_after"):
        assert two[key] == pytest.approx(one[key], rel=1e-5)
    assert two["supervised_tokens"] == one["supervised_tokens"]
    for name, value in weights(tmp_path / "one").items():
        assert torch.allclose(value, weights(tmp_path / "two")[name], atol=1e-5)


def test_the_held_out_loss_is_measured_where_only_that_is_left_to_do(capsys, tmp_path, student):
    data = exported(tmp_path / "data", clean_segments()[:8], clean_segments()[8:12])
    command = ("train", data, "--model", student, "--out", tmp_path / "out", *QUICK, "--json")
    told = typed(capsys, *command)[1]
    store = sqlite3.connect(tmp_path / "out" / FILE)
    store.execute("DELETE FROM results")
    store.commit()
    store.close()
    code, again, err = typed(capsys, *command)
    assert (code, json.loads(again)) == (0, json.loads(told))
    assert "training" not in err


def test_adapters_are_kept_beside_the_student_that_they_are_merged_into(capsys, tmp_path, student):
    from peft import PeftModel

    data = exported(tmp_path / "data", clean_segments()[:8])
    out = tmp_path / "out"
    code, _, err = typed(
        capsys, "train", data, "--model", student, "--out", out, *QUICK, "--set", "training.lora={rank = 2}"
    )
    assert code == 0, err
    ids = torch.tensor([clean_segments()[0].input_ids])
    merged = AutoModelForCausalLM.from_pretrained(out / "model")
    around = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(student), str(out / "adapter"))
    with torch.no_grad():
        assert torch.allclose(merged(input_ids=ids).logits, around(input_ids=ids).logits, atol=1e-4)
