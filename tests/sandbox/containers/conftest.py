"""An engine, an image on it, and sandboxes in containers of that."""

import pytest
from engines import LIMITS
from images import engine_client

from agentdistill.sandbox.docker import DockerBackend


@pytest.fixture(scope="module")
def client():
    client = engine_client()
    yield client
    client.close()


@pytest.fixture(scope="module")
def image(docker_options) -> str:
    return docker_options["image"]


@pytest.fixture(scope="module")
def backend(image):
    with DockerBackend(limits=LIMITS, image=image) as backend:
        yield backend


@pytest.fixture
def sandbox(backend):
    with backend.create() as sandbox:
        yield sandbox
