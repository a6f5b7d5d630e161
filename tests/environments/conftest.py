"""What tests of environments share: one backend for each file, in memory: it only saves time here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from agentdistill_environments.repair import Repair

from agentdistill.sandbox import SandboxBackend
from agentdistill.sandbox.bubblewrap import BubblewrapBackend


@pytest.fixture(scope="module")
def backend() -> Iterator[SandboxBackend]:
    backend = BubblewrapBackend()
    yield backend
    backend.close()


@pytest.fixture
def repair(backend: SandboxBackend) -> Iterator[Repair]:
    environment = Repair(gap=0.5, sandboxes=backend)
    yield environment
    environment.close()
