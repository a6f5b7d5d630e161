"""The shipped recipes: each reads, runs on a tiny student from end to end, and goes on after a SIGKILL."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from agentdistill.distillation import distill
from agentdistill.errors import ConfigError, UsageError
from agentdistill.recipes import TakeoverRecipe, read_recipe
from agentdistill.settings import RunConfig
from agentdistill.store import RunStore

ROOT = Path(__file__).parent.parent
RECIPES = sorted((ROOT / "examples" / "recipes").glob("*.toml"))
SMALL: dict[str, Any] = {
    "environment": "depot",
    "environment_options": {"gap": 0.3},
    "base_tokens": 12000,
    "budget_tokens": 500,
    "most_student_episodes": 160,
    "student": {"vocabulary": 450, "hidden": 64, "layers": 2, "heads": 4, "context": 400},
    "sampling": {"max_new_tokens": 12, "temperature": 0.7},
    "base_training": {"steps": 1500, "tokens_per_step": 64, "learning_rate": 8e-3},
    "training": {"steps": 6, "tokens_per_step": 200},
    "evaluation": {"tasks": 6},
}


class Silent:
    def begin(self, stage: str, total: int | None = None) -> None: ...

    def advance(self, amount: int = 1, note: str = "") -> None: ...

    def end(self, note: str = "") -> None: ...


@pytest.fixture(scope="module", autouse=True)
def double() -> Iterator[None]:
    """Students in float64: in float32 the last digits of a forward pass depend on the company in the batch, another
    after a resumption, and in one of some thousand episodes they decide a token."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with nothing but a base student; it is also the learned teacher of those recipes that need one."""
    folder = tmp_path_factory.mktemp("runs") / "base"
    distill(RunConfig.model_validate(SMALL | {"arms": {}}), folder, Silent())
    return folder


def settings(recipe: Path, base: Path) -> RunConfig:
    scorer = {"model": str(base / "checkpoints" / "base-0")}
    config = RunConfig.model_validate(SMALL | {"arms": {}, "scorer": scorer})
    return config.model_copy(update={"arms": {recipe.stem: read_recipe(recipe)}})


def bought(folder: Path, arm: str) -> dict[str, Any]:
    """What a run has bought and found, but for log-probabilities: the company in a batch moves their last digits."""

    def exact(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: exact(inner) for key, inner in value.items() if not key.endswith("logprobs")}
        return [exact(inner) for inner in value] if isinstance(value, list) else value

    with RunStore.read(folder) as store:
        results = {key: exact(value) for key, value in store.results().items() if key != "report"}
        return {"results": results, "teacher": store.teacher_tokens(arm).model_dump()}


def begun(folder: Path, arm: str) -> bool:
    """Whether anything of an arm is in the store."""
    with RunStore.read(folder) as store:
        return any(store.known_keys(stage, arm, 0) for stage in ("clean", "rollout"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_short_and_names_its_source(recipe):
    assert len(recipe.read_text().splitlines()) <= 25
    assert read_recipe(recipe).reference


def test_a_wrong_key_a_wrong_way_and_a_wrong_loss_are_told_in_one_line(tmp_path):
    file = tmp_path / "r.toml"
    for text, told in [
        ('way = "take-over"', "takeover"),
        ('way = "takeover"\ndetector = ["loop"]', "detectors"),
        ('way = "takeover"\ndetectors = ["lop"]', "loop"),
        ('way = "clean"\nloss = "masked_cros_entropy"', "masked_cross_entropy"),
        ('way = "takeover"\n[takeover]\nstep = 3', "steps"),
        ("replay = 0.5", "way"),
    ]:
        file.write_text(text)
        with pytest.raises(UsageError, match=told) as caught:
            read_recipe(file)
        assert "\n" not in str(caught.value)


def test_a_recipe_that_needs_a_learned_teacher_says_so_before_anything_is_run(tmp_path):
    recipe = read_recipe(ROOT / "examples" / "recipes" / "gkd.toml")
    config = RunConfig.model_validate(SMALL | {"arms": {}}).model_copy(update={"arms": {"gkd": recipe}})
    with pytest.raises(ConfigError, match=r"scorer\.model=FOLDER"):
        distill(config, tmp_path / "run", Silent())
    assert not (tmp_path / "run").exists()


def test_overrides_reach_into_a_recipe():
    recipe = read_recipe(ROOT / "examples" / "recipes" / "value-collapse.toml", ["takeover.steps=3", "replay=0.1"])
    assert isinstance(recipe, TakeoverRecipe)
    assert (recipe.takeover.steps, recipe.replay) == (3, 0.1)


def test_two_recipes_under_one_name_in_one_folder_are_told_apart(base, tmp_path):
    clean = ROOT / "examples" / "recipes" / "clean.toml"
    config = settings(clean, base)
    shutil.copytree(base, tmp_path / "run")
    distill(config, tmp_path / "run", Silent())
    other = config.model_copy(update={"arms": {"clean": read_recipe(clean, ["replay=0.9"])}})
    with pytest.raises(ConfigError, match="another name"):
        distill(other, tmp_path / "run", Silent())


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_runs_from_end_to_end_and_goes_on_after_a_kill_without_buying_twice(recipe, base, tmp_path):
    config = settings(recipe, base)
    for folder in ("whole", "killed"):
        shutil.copytree(base, tmp_path / folder)
    (tmp_path / "config.json").write_text(config.model_dump_json())
    program = (
        "import sys, torch; torch.set_default_dtype(torch.float64)\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from test_recipes import Silent\n"
        "from agentdistill.distillation import distill; from agentdistill.settings import RunConfig\n"
        "distill(RunConfig.model_validate_json(Path(sys.argv[2]).read_text()), Path(sys.argv[3]), Silent())"
    )
    arguments = [sys.executable, "-c", program, str(Path(__file__).parent), str(tmp_path / "config.json")]
    process = subprocess.Popen([*arguments, str(tmp_path / "killed")], start_new_session=True)
    while process.poll() is None and not begun(tmp_path / "killed", recipe.stem):
        time.sleep(0.05)
    time.sleep(random.uniform(0, 2))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()

    whole = distill(config, tmp_path / "whole", Silent())
    arm = whole.arms[recipe.stem]
    spent = arm.teacher_tokens - whole.arms["base"].teacher_tokens
    assert spent >= min(500, arm.student_tokens)  # a student that cannot fail often enough may end before the budget
    assert arm.optimiser_steps > whole.arms["base"].optimiser_steps
    resumed = distill(config, tmp_path / "killed", Silent())
    assert resumed == whole
    assert bought(tmp_path / "killed", recipe.stem) == bought(tmp_path / "whole", recipe.stem)


def test_the_tables_in_the_readme_are_those_that_the_results_make():
    from agentdistill.comparison import read_cells
    from agentdistill.report.accuracy import accuracy_table, read_reports
    from agentdistill.report.comparison import table

    readme, results = (ROOT / "README.md").read_text(), ROOT / "examples" / "results"
    for folder in sorted(path for path in results.iterdir() if path.is_dir() and path.name != "detectors"):
        cells = list(read_cells(folder))
        assert {cell.grid for cell in cells} == {folder.name}
        budgets, others = {cell.budget for cell in cells}, {"", *(cell.variant for cell in cells)}
        shown = [budget for budget in budgets if any(table(cells, budget, against) in readme for against in others)]
        assert shown, f"agentdistill table examples/results/{folder.name} --budget {max(budgets)}"
        if len(budgets) > 1:
            assert table(cells) in readme, f"agentdistill table examples/results/{folder.name}"
    reports = read_reports(results / "detectors")
    assert not reports or accuracy_table(reports) in readme, "agentdistill detector-table examples/results/detectors"


@pytest.mark.slow
def test_tasks_by_success_are_the_same_in_all_rounds_and_those_always_solved_rest(base, tmp_path):
    shutil.copytree(base, tmp_path / "run")
    curriculum = {"tasks": "by_success", "set_size": 24, "rest_after": 1}
    arms = {"again": {"way": "takeover", "rounds": 2, "curriculum": curriculum}}
    distill(RunConfig.model_validate(SMALL | {"arms": arms}), tmp_path / "run", Silent())
    with RunStore.read(tmp_path / "run") as store:
        first, second = (list(store.trajectories("rollout", "again", number)) for number in (0, 1))
    assert len({t.task.id for _, t in first + second}) <= 24
    ended: dict[str, list[bool]] = {}
    for _, trace in sorted(first, key=lambda run: run[0].attempt):
        ended.setdefault(trace.task.id, []).append(trace.succeeded)
    resting = {task for task, runs in ended.items() if runs[-1]}
    assert resting
    assert resting.isdisjoint(t.task.id for k, t in second if k.attempt < 128)


@pytest.mark.slow
def test_triage_looks_closer_at_a_share_of_the_failures_and_says_how_many_it_left(base, tmp_path):
    shutil.copytree(base, tmp_path / "run")
    worth = {"by": ["first_tool_error"], "keep": 0.25}
    arms = {"some": {"way": "takeover", "triage": worth}, "all": {"way": "takeover"}}
    report = distill(RunConfig.model_validate(SMALL | {"arms": arms}), tmp_path / "run", Silent())
    assert "not worth its cost" not in report.refused["all"]
    left = report.refused["some"]["not worth its cost"]
    with RunStore.read(tmp_path / "run") as store:
        runs = [trace for _, trace in store.trajectories("rollout", "some", 0)]
    failed = sum(trace.failed for trace in runs)
    assert 0.6 * failed < left < 0.9 * failed


def test_a_detector_a_teacher_and_a_loss_of_ones_own_are_used_from_a_config(tmp_path):
    examples = ROOT / "examples"
    mine = {
        "way": "takeover",
        "detectors": [{"name": f"{examples}/own_detector.py:SameAnswer", "times": 1}],
        "teachers": [f"{examples}/own_teacher.py:Pourer"],
        "loss": {"name": f"{examples}/own_loss.py:focal", "options": {"gamma": 2.0}},
    }
    changes = {
        "environment": f"{examples}/tank.py:Tank",
        "environment_options": {},
        "base_tokens": 300,
        "budget_tokens": 150,
        "student": {"hidden": 32, "layers": 2, "context": 256},
        "base_training": {"steps": 5},
        "arms": {"mine": mine},
    }
    report = distill(RunConfig.model_validate(SMALL | changes), tmp_path / "run", Silent())
    with RunStore.read(tmp_path / "run") as store:
        climbs = [each for _, each in store.recoveries("takeover", "mine")]
        assert {each.divergence.detector for each in climbs} == {"SameAnswer"}
        assert {step.completion.model for each in climbs for step in each.trajectory.steps if step.actor == "teacher"}
    assert report.arms["mine"].optimiser_steps == 5 + 6
