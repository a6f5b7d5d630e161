"""Trackers show what the store keeps; they are found by name, are never needed, and never cost a training."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from students import clean_segments, depot_tokenizer, untrained
from test_cli import one_line, typed
from test_finetuning import QUICK, exported, one_line_last
from test_imports import MODELS, loaded_by

from agentdistill import Tracker
from agentdistill.errors import UsageError
from agentdistill.store import RunStore
from agentdistill.trackers import READY, load_tracker, tracked
from agentdistill.training import save_checkpoint

OWN = '''
import json
from pathlib import Path


class Own:
    """Writes down what it is told."""

    def start(self, name, folder, config):
        self.path = folder / "own.jsonl"
        self.say("start", name, config)

    def log(self, step, metrics):
        print("a word of mine")
        self.say("log", step, metrics)

    def close(self):
        self.say("close")

    def say(self, *what):
        with self.path.open("a") as out:
            out.write(json.dumps(what) + "\\n")


class Breaks(Own):
    def log(self, step, metrics):
        raise ConnectionError("no route\\nto the service")


class NeverStarts(Own):
    def start(self, name, folder, config):
        raise RuntimeError("no account")


class Nothing:
    pass
'''


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own_trackers.py"
    path.write_text(OWN)
    return path


@pytest.fixture
def command(tmp_path: Path) -> tuple[Any, ...]:
    save_checkpoint(untrained(), depot_tokenizer(), tmp_path / "student", {})
    data = exported(tmp_path / "data", clean_segments()[:8])
    return ("train", data, "--model", tmp_path / "student", "--out", tmp_path / "out", *QUICK)


def kept(folder: Path) -> list[dict[str, Any]]:
    with RunStore.read(folder) as store:
        return store.metrics()["train"]


def shown_by_tensorboard(folder: Path, key: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [(each.step, each.value) for each in events.Scalars(key)]


def test_tensorboard_shows_what_the_store_keeps(capsys, tmp_path, command):
    code, out, err = typed(capsys, *command, "--tracker", "tensorboard")
    assert code == 0, err
    assert out.count("\n") == 1
    steps = kept(tmp_path / "out")
    for key in ("loss", "gradient_norm", "tokens_per_second"):
        shown = shown_by_tensorboard(tmp_path / "out" / "tensorboard" / "out", key)
        assert [step for step, _ in shown] == [1, 2, 3, 4, 5, 6]
        assert [value for _, value in shown] == pytest.approx([step[key] for step in steps], rel=1e-6)


def test_tensorboard_forgets_what_a_killed_training_had_shown_beyond(tmp_path):
    for first, last, loss in ((1, 5, 1.0), (3, 6, 2.0)):
        with tracked(["tensorboard"], "run", tmp_path, {}) as trackers:
            for step in range(first, last + 1):
                trackers.log(step, {"loss": loss})
    shown = shown_by_tensorboard(tmp_path / "tensorboard" / "run", "loss")
    assert shown == [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0), (5, 2.0), (6, 2.0)]


def test_a_tracker_of_ones_own_is_told_of_every_step_and_says_nothing_in_our_name(capsys, tmp_path, own, command):
    code, out, err = typed(capsys, *command, "--tracker", f"{own}:Own")
    assert code == 0
    assert out.count("\n") == 1
    assert err.count("a word of mine") == 6
    told = [json.loads(line) for line in (tmp_path / "out" / "own.jsonl").read_text().splitlines()]
    assert told[0][:2] == ["start", "out"]
    assert told[0][2]["training"]["steps"] == 6
    assert [each[1] for each in told[1:-1]] == [1, 2, 3, 4, 5, 6]
    assert [each[2]["loss"] for each in told[1:-1]] == [step["loss"] for step in kept(tmp_path / "out")]
    assert told[-1] == ["close"]


def test_a_tracker_that_breaks_costs_its_curves_and_not_the_training(capsys, tmp_path, own, command):
    with pytest.warns(UserWarning, match=r"Breaks is left out from now on: no route$") as warned:
        assert typed(capsys, *command, "--tracker", f"{own}:Breaks")[0] == 0
    assert len(warned) == 1
    assert len(kept(tmp_path / "out")) == 6


def test_a_tracker_that_cannot_be_started_is_one_line(capsys, own, command):
    line = one_line_last(typed(capsys, *command, "--tracker", f"{own}:NeverStarts"))
    assert "cannot be started: no account" in line


@pytest.mark.parametrize("package", READY)
def test_a_package_that_is_missing_is_one_line_that_says_what_to_install(capsys, monkeypatch, command, package):
    monkeypatch.setitem(sys.modules, package, None)
    assert f"pip install {package}" in one_line(typed(capsys, *command, "--tracker", package))


def test_what_is_no_tracker_is_told(own):
    with pytest.raises(UsageError, match="is no tracker"):
        load_tracker(f"{own}:Nothing")
    with pytest.raises(UsageError, match="Did you mean 'Breaks'"):
        load_tracker(f"{own}:Braeks")
    assert isinstance(load_tracker(f"{own}:Own"), Tracker)


def test_settings_reach_trackers_without_secrets(monkeypatch, tmp_path, own):
    monkeypatch.setenv("SERVICE_API_KEY", "very-secret-value")
    with tracked([f"{own}:Own"], "run", tmp_path, {"data": "/home/very-secret-value"}):
        pass
    assert "very-secret" not in (tmp_path / "own.jsonl").read_text()


def test_trackers_load_nothing_until_they_are_asked_for():
    assert not loaded_by("import agentdistill.trackers") & {*MODELS, "tensorboard", "wandb", "trackio"}


@pytest.mark.slow
def test_wandb_takes_all_steps_offline(capsys, monkeypatch, tmp_path, command):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    code, out, _ = typed(capsys, *command, "--tracker", "wandb")
    assert (code, out.count("\n")) == (0, 1)
    assert list((tmp_path / "out" / "wandb").glob("offline-run-*/run-*.wandb"))


@pytest.mark.slow
def test_trackio_takes_all_steps_on_this_machine(capsys, monkeypatch, tmp_path, command):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # is read when it is imported
    pytest.importorskip("trackio")
    code, out, _ = typed(capsys, *command, "--tracker", "trackio")
    assert (code, out.count("\n")) == (0, 1)
    assert list((tmp_path / "trackio").glob("*.db"))
