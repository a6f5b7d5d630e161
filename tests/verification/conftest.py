"""A real backend for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agentdistill.errors import SandboxUnavailableError
from agentdistill.sandbox.base import Sandbox
from agentdistill.sandbox.bubblewrap import BubblewrapBackend

collect_ignore = ["corpus", "works"]  # data; the tests in them are run in sandboxes


@pytest.fixture(scope="session")
def backend() -> Iterator[BubblewrapBackend]:
    with BubblewrapBackend() as backend:
        try:
            backend.create().close()
        except SandboxUnavailableError as error:
            pytest.skip(str(error))
        yield backend


@pytest.fixture
def left(backend: BubblewrapBackend) -> Iterator[Sandbox]:
    """The agent's sandbox."""
    with backend.create() as sandbox:
        yield sandbox


@pytest.fixture
def fresh(backend: BubblewrapBackend) -> Iterator[Sandbox]:
    """The one in which its work is judged."""
    with backend.create() as sandbox:
        yield sandbox
