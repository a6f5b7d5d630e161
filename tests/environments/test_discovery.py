"""Every registered environment passes every check: a new file in `environments/` is tested with no test edited."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentdistill.loading import known_environments, load_environment
from agentdistill.testing import check_environment


@pytest.mark.parametrize("name", known_environments())
def test_a_registered_environment_passes_the_conformance_suite(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])  # environments that read `tasks/` look for it where one stands
    found = check_environment(load_environment(name))
    assert [f"{check.name}: {check.detail}" for check in found if check.status == "failed"] == []
    assert sum(check.status == "passed" for check in found) >= 8
