"""The learned tiny teacher: made by the example, better than nothing, and a model like any other."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from agentdistill_environments.depot import Depot
from students import SMALL
from transformers import AutoModelForCausalLM, AutoTokenizer

from agentdistill.losses import LossSpec, load_loss
from agentdistill.policies import Policy, Request
from agentdistill.policies.base import Scorer
from agentdistill.policies.local import LocalPolicy
from agentdistill.policies.tiny import make_student
from agentdistill.records import Message
from agentdistill.segments import segments_of
from agentdistill.settings import RunConfig
from agentdistill.stages import Run
from agentdistill.store import RunStore
from agentdistill.training import Pool, Progress, TrainingConfig, save_checkpoint, train
from agentdistill.transcripts import Wanderer, tokenizer_of

LIKE: dict[str, Any] = {
    "environment": "depot",
    "environment_options": {"gap": 0.5},
    "student": {"vocabulary": 500, "hidden": 16, "layers": 1},
}
QUICK = TrainingConfig(steps=40, tokens_per_step=200, learning_rate=1e-2)


@cache
def example() -> ModuleType:
    path = Path(__file__).parent.parent / "examples" / "tiny_teacher.py"
    spec = importlib.util.spec_from_file_location("tiny_teacher", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tiny_teacher"] = module
    spec.loader.exec_module(module)
    return module


@cache
def made() -> tuple[Any, ...]:
    return example().make_teacher(example().play(Depot, "train", 20, 0), SMALL, QUICK)


def test_it_finds_held_out_traces_likelier_than_an_untrained_one_does() -> None:
    teacher, untrained, refused = made()
    assert refused == 0
    rows, _ = segments_of(example().play(Depot, "heldout", 8, 0), teacher.renderer, SMALL.context)
    assert len(rows) == 8
    learnt, unlearnt = (example().likelihood(each, rows) for each in (teacher, untrained))
    assert learnt > unlearnt + 2.0


def test_it_is_saved_as_a_model_that_the_auto_classes_load_and_acts_and_scores(tmp_path: Path) -> None:
    teacher, _, _ = made()
    save_checkpoint(teacher.model, teacher.renderer.tokenizer, tmp_path / "teacher", {})
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "teacher")
    assert len(AutoTokenizer.from_pretrained(tmp_path / "teacher")) == model.config.vocab_size
    assert {path.suffix for path in (tmp_path / "teacher").iterdir()} <= {".json", ".safetensors", ".jinja"}
    loaded = LocalPolicy.load(tmp_path / "teacher")
    assert isinstance(loaded, Policy)
    assert isinstance(loaded, Scorer)
    asked = [Request(messages=(Message(role="user", content="ship: bolt red, cup blue"),))]
    assert loaded.act(asked)[0].token_ids == teacher.act(asked)[0].token_ids


def test_the_real_one_has_one_to_two_million_parameters() -> None:
    teacher, _, _ = made()
    size = example().SIZE
    tokenizer = teacher.renderer.tokenizer
    with torch.device("meta"):
        model = make_student(tokenizer, size, 0)
    missing = (size.vocabulary - len(tokenizer)) * size.hidden
    assert 1_000_000 <= sum(each.numel() for each in model.parameters()) + missing <= 2_000_000


def test_all_tiny_models_of_an_environment_have_the_same_tokens_whatever_the_seed(tmp_path: Path) -> None:
    """Runs of two seeds, through the stage that makes their student, and what a teacher like theirs is made with."""
    vocabularies = []
    for seed in (0, 1):
        config, folder = RunConfig.model_validate(LIKE | {"seed": seed}), tmp_path / str(seed)
        with RunStore.resume(folder, config.identity()) as store:
            student = Run(config, folder, store, example().Quiet(), partial(Depot)).make_student()
        vocabularies.append(AutoTokenizer.from_pretrained(student).get_vocab())
    assert vocabularies[0] == vocabularies[1]
    made_like = tokenizer_of(Depot, RunConfig.model_validate(LIKE).student, example().Quiet())
    assert made_like.get_vocab() == vocabularies[0]


def test_what_is_mended_is_the_scripted_teachers_from_where_somebody_else_left_off() -> None:
    traces = example().play(Depot, "train", 6, 0)
    wanderer = Wanderer([step.completion.message for trace in traces for step in trace.steps])
    found = example().mended(Depot, wanderer, 12, 0)
    assert found
    assert any(outcome.status != "ok" for trace in found for step in trace.steps for outcome in step.outcomes)
    for trace in found:
        assert trace.succeeded
        actors = [step.actor for step in trace.steps]
        begun = actors.index("teacher")
        assert begun >= 1
        assert set(actors[:begun]) == {"student"}
        assert set(actors[begun:]) == {"teacher"}


@pytest.mark.slow
def test_a_teacher_like_a_runs_students_gives_log_probabilities_of_their_tokens(tmp_path: Path) -> None:
    given = example().arguments([str(tmp_path), "--episodes", "6", "--rounds", "2", "--steps", "6", "--heldout", "1"])
    teacher, traces, _ = example().make_teacher_like(RunConfig.model_validate(LIKE), given, SMALL)
    assert traces > 6
    tokenizer = tokenizer_of(Depot, RunConfig.model_validate(LIKE).student, example().Quiet())
    student = make_student(tokenizer, RunConfig.model_validate(LIKE).student, 0)
    rows, _ = segments_of(example().play(Depot, "train", 4, 9), LocalPolicy(student, tokenizer).renderer, 448)
    seen: list[Progress] = []
    pool = Pool(rows, 1.0, load_loss(LossSpec(name="reverse_kl")))
    train(student, [pool], TrainingConfig(steps=2, tokens_per_step=50), 0, seen.append, teacher=teacher.model)
    assert seen[0].loss > 0


@pytest.mark.slow
def test_both_ready_environments_teach_it() -> None:
    traces = []
    for name in example().ENVIRONMENTS:
        with example().worlds(name) as make:
            found = example().play(make, "train", 8, 0)
        assert len(found) == 8
        traces += found
    teacher, untrained, refused = example().make_teacher(traces, example().SIZE, QUICK.model_copy(update={"steps": 5}))
    assert refused == 0
    rows, _ = segments_of(traces, teacher.renderer, example().SIZE.context)
    assert example().likelihood(teacher, rows) > example().likelihood(untrained, rows)
