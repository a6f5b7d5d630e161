"""A real backend for all tests of this folder, and a fresh sandbox for each."""

from collections.abc import Iterator

import pytest
from images import base_image, engine_client, remove_images

from agentdistill.errors import SandboxUnavailableError
from agentdistill.sandbox.agent_sandbox import AgentSandbox
from agentdistill.sandbox.base import Limits
from agentdistill.sandbox.bubblewrap import BubblewrapBackend


@pytest.fixture(scope="session")
def backend(tmp_path_factory) -> Iterator[BubblewrapBackend]:
    with BubblewrapBackend(tmp_path_factory.mktemp("sandboxes"), Limits(seconds=10)) as backend:
        try:
            backend.create().close()
        except SandboxUnavailableError as error:
            pytest.skip(str(error))
        yield backend


@pytest.fixture
def sandbox(backend) -> Iterator[AgentSandbox]:
    with backend.create() as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def docker_options() -> Iterator[dict[str, object]]:
    """Options of a docker backend here, for tests of all backends; without an engine the test is skipped."""
    client = engine_client()
    yield {"image": base_image(client)}
    remove_images(client)
    client.close()
