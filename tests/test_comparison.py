"""Recipes are compared cell by cell: paired by seed, resumable, and never mixed up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentdistill.comparison import Cell, fill, read_cells, read_grid
from agentdistill.errors import ConfigError, UnknownNameError
from agentdistill.report.comparison import paired, recovery, success, table
from agentdistill.results import ArmResult, mean_of, rate_of

SHIPPED = ("depot", "depot-ablations")


class Silent:
    def begin(self, stage: str, total: int | None = None) -> None: ...

    def advance(self, amount: int = 1, note: str = "") -> None: ...

    def end(self, note: str = "") -> None: ...


def cell(variant: str, seed: int, passed: int, budget: int = 100, bank: str = "b") -> Cell:
    result = ArmResult(
        success=rate_of(passed, 100),
        recovery=rate_of(passed // 2, 100),
        teacher_tokens=1000 + budget,
        teacher_input_tokens=0,
        student_tokens=10,
        optimiser_steps=5,
        tool_errors=0.0,
        steps=3.0,
        errored=0,
    )
    return Cell(
        grid="g",
        variant=variant,
        reference="r",
        environment="depot",
        seed=seed,
        budget=budget,
        commit="c",
        bank_digest=bank + str(seed),
        result=result,
        refused={},
    )


def test_students_t_over_the_seeds_is_the_interval():
    found = mean_of([10.0, 20.0, 30.0])  # standard error 5.7735, t(2) = 4.303
    assert (found.mean, found.least, found.most, found.n) == (20.0, 10.0, 30.0, 3)
    assert found.low == pytest.approx(20 - 24.843, abs=1e-3)
    assert found.high == pytest.approx(20 + 24.843, abs=1e-3)


def test_one_seed_has_no_interval():
    assert mean_of([5.0]).low == -float("inf")
    assert "[" not in table([cell("a", 0, 50)])


def test_the_best_recipe_comes_first_and_the_others_are_compared_seed_by_seed():
    cells = [cell("a", 0, 10), cell("a", 1, 30), cell("b", 0, 40), cell("b", 1, 60)]
    lines = table(cells, against="a").splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| `b`", "| `a`"]
    assert "+30.0 [+30.0, +30.0]" in lines[2]  # the seeds differ by 20, the difference does not differ at all


def test_a_seed_that_only_one_has_is_not_in_the_difference():
    found = paired([cell("a", 0, 10), cell("a", 1, 90)], [cell("b", 0, 5)], success)
    assert found is not None
    assert (found.mean, found.n) == (5.0, 1)


def test_cells_of_different_banks_are_not_compared():
    with pytest.raises(ValueError, match="different banks"):
        paired([cell("a", 0, 10)], [cell("b", 0, 5, bank="other")], recovery)


def test_several_budgets_stand_side_by_side():
    cells = [cell("a", 0, 10, 100), cell("a", 0, 20, 200), cell("b", 0, 30, 100)]
    lines = table(cells).splitlines()
    assert "100 tokens" in lines[0]
    assert "200 tokens" in lines[0]
    assert lines[2:] == ["| `a` | 10.0, 5.0 | 20.0, 10.0 |"]


def write(folder: Path, **grid: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.toml").write_text(
        'environment = "depot"\nbase_tokens = 1000\nmost_student_episodes = 64\n'
        "[environment_options]\ngap = 0.3\n"
        "[student]\nvocabulary = 450\nhidden = 16\nlayers = 1\ncontext = 400\n"
        "[sampling]\nmax_new_tokens = 16\n[base_training]\nsteps = 4\ntokens_per_step = 200\n"
        "[training]\nsteps = 3\ntokens_per_step = 200\n[evaluation]\ntasks = 6\n"
    )
    (folder / "recipes").mkdir(exist_ok=True)
    (folder / "recipes" / "clean.toml").write_text('way = "clean"\nreference = "r"\n')
    lines = [f"{key} = {json.dumps(value)}" for key, value in grid.items()]
    text = "\n".join(
        ['run = "run.toml"', *lines, "[variants.clean]", "[variants.calm]", 'recipe = "recipes/clean.toml"']
    )
    (folder / "grid.toml").write_text(text + "\n")
    return folder / "grid.toml"


def test_a_grid_is_filled_once_and_a_second_time_costs_nothing(tmp_path):
    grid = write(tmp_path, seeds=[0], budgets=[200])
    fill(grid, tmp_path / "results", tmp_path / "runs", Silent())
    cells = list(read_cells(tmp_path / "results"))
    assert [each.variant for each in cells] == ["calm", "clean"]
    assert cells[0].result == cells[1].result  # the same recipe on the same tasks from the same base
    assert len(cells[0].result.outcomes) == 6
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "results").iterdir()}
    fill(grid, tmp_path / "results", tmp_path / "elsewhere", Silent())
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "results").iterdir()} == before
    assert not (tmp_path / "elsewhere").exists()


def test_an_unknown_variant_is_told_with_the_nearest_one(tmp_path):
    with pytest.raises(UnknownNameError, match="clean"):
        fill(write(tmp_path, seeds=[0], budgets=[200]), tmp_path / "r", tmp_path / "f", Silent(), only=["claen"])


def test_a_missing_recipe_is_told_before_anything_is_run(tmp_path):
    grid = write(tmp_path, seeds=[0], budgets=[200])
    (tmp_path / "recipes" / "clean.toml").unlink()
    with pytest.raises(ConfigError, match=r"clean\.toml"):
        read_grid(grid)


def test_a_learned_teacher_that_is_not_there_is_told_before_anything_is_run(tmp_path):
    grid = write(tmp_path, seeds=[0], budgets=[200], set=["scorer.model=runs/none"])
    (tmp_path / "recipes" / "gkd.toml").write_text('way = "score"\n')
    grid.write_text(grid.read_text() + "[variants.gkd]\n")
    with pytest.raises(ConfigError, match="there is no such folder"):
        fill(grid, tmp_path / "results", tmp_path / "runs", Silent())
    assert not (tmp_path / "runs").exists()
    fill(grid, tmp_path / "results", tmp_path / "runs", Silent(), only=["clean"])
    assert [each.variant for each in read_cells(tmp_path / "results")] == ["clean"]


def test_the_same_settings_came_to_the_same_in_two_grids_and_at_two_commits():
    results = Path(__file__).parent.parent / "examples" / "results"
    grids = {name: {(c.variant, c.budget, c.seed): c for c in read_cells(results / name)} for name in SHIPPED}
    for seed in range(3):
        one = grids["depot"]["value-collapse", 6000, seed]
        other = grids["depot-ablations"]["ours", 6000, seed]
        assert one.commit != other.commit
        assert one.result == other.result
        assert one.bank_digest == other.bank_digest


def test_a_result_under_another_ones_name_is_refused(tmp_path):
    (tmp_path / "b-100-0.json").write_text(cell("a", 0, 10).model_dump_json())
    with pytest.raises(ConfigError, match=r"a-100-0\.json"):
        list(read_cells(tmp_path))
