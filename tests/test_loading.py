"""Environments are found by every name a person may give, and what is not found is said in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest

from agentdistill.errors import UnknownNameError, UsageError
from agentdistill.loading import known_environments, load_environment

DEPOT = Path(__file__).parents[1] / "environments" / "depot.py"


def test_the_ready_environments_are_found_without_importing_them() -> None:
    assert {"agentdistill/Depot-v0", "agentdistill/Terminal-v0", "agentdistill/Repair-v0"} <= set(known_environments())


@pytest.mark.parametrize(
    "name", ["depot", "Depot", "agentdistill/Depot-v0", "agentdistill_environments.depot:Depot", f"{DEPOT}:Depot"]
)
def test_every_way_to_name_it_makes_a_bare_environment_that_takes_its_settings(name: str) -> None:
    made = load_environment(name)(gap=0.25)
    assert made.unwrapped is made
    assert type(made).__name__ == "Depot"
    assert made.gap == 0.25  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "kind", "complaint"),
    [
        ("depott", UnknownNameError, "no environment 'depott'. Did you mean 'depot'?"),
        ("agentdistill/Repiar-v0", UnknownNameError, "Did you mean 'agentdistill/Repair-v0'?"),
        ("agentdistill_environments.depot:Depo", UnknownNameError, "has no 'Depo'. Did you mean 'Depot'?"),
        ("agentdistill_environments.depot:World", UsageError, "not a ToolEnvironment class"),
        ("no_such_module:Thing", UnknownNameError, "no module 'no_such_module'"),
        ("no/such/file.py:Thing", UnknownNameError, "no file 'no/such/file.py'"),
    ],
)
def test_a_wrong_name_is_one_line_with_the_nearest(name: str, kind: type[UsageError], complaint: str) -> None:
    with pytest.raises(kind) as caught:
        load_environment(name)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_does_not_run_is_the_operators_error(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import no_such_module\n")
    with pytest.raises(UsageError, match="does not import: ModuleNotFoundError"):
        load_environment(f"{tmp_path / 'mine.py'}:Mine")


def test_somebody_elses_environment_is_not_taken_for_one_with_tools() -> None:
    with pytest.raises(UsageError, match="not a ToolEnvironment"):
        load_environment("CartPole-v1")()


def test_gymnasium_makes_them_by_module_and_id_in_a_fresh_process() -> None:
    code = "import gymnasium; print(gymnasium.make('agentdistill_environments:agentdistill/Depot-v0').unwrapped)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Depot" in found.stdout


def test_registering_again_is_silent() -> None:
    from agentdistill_environments import register

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gymnasium.logger, "warn", lambda *_: pytest.fail("it warned"))
        register()
