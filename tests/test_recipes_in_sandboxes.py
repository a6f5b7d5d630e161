"""Recipes where the world is a sandbox's: its snapshots are kept as long as a teacher may still look at them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentdistill.distillation import distill
from agentdistill.recipes import read_recipe
from agentdistill.settings import RunConfig
from agentdistill.store import RunStore

HERE = Path(__file__).parent
RECIPES = ["random-switch", "few-teacher-steps", "dagger", "srft", "score", "cso", "value-collapse"]
SMALL: dict[str, Any] = {
    "environment": f"{HERE / 'slips.py'}:Slips",
    "base_tokens": 1500,
    "budget_tokens": 300,
    "most_student_episodes": 120,
    "student": {"vocabulary": 300, "hidden": 48, "layers": 2, "heads": 4, "context": 300},
    "sampling": {"max_new_tokens": 24, "temperature": 1.0},
    "base_training": {"steps": 250, "tokens_per_step": 64, "learning_rate": 8e-3},
    "training": {"steps": 4, "tokens_per_step": 100},
    "evaluation": {"tasks": 6},
    "live": 32,
}


class Silent:
    def begin(self, stage: str, total: int | None = None) -> None: ...

    def advance(self, amount: int = 1, note: str = "") -> None: ...

    def end(self, note: str = "") -> None: ...


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_takeover_label_or_judgement_misses_its_world(tmp_path):
    """Nor of runs that succeed, of which this student has some."""
    recipes = {name: read_recipe(HERE.parent / "examples" / "recipes" / f"{name}.toml") for name in RECIPES}
    config = RunConfig.model_validate(SMALL | {"arms": {}}).model_copy(update={"arms": recipes})
    report = distill(config, tmp_path / "run", Silent())
    assert report.arms.keys() == {"base", *RECIPES}
    for name in RECIPES:
        assert "infrastructure error" not in report.refused[name], name
    with RunStore.read(tmp_path / "run") as store:
        ended = {
            name: [trace.succeeded for _, trace in store.trajectories("rollout", name, 0)]
            for name in ("random-switch", "dagger", "srft")
        }
    assert all(map(any, ended.values()))
    assert not all(map(all, ended.values()))
