"""A pool of warm containers."""

import time

import pytest
from engines import LIMITS, gone, ours

from agentdistill.errors import SandboxUnavailableError
from agentdistill.sandbox.docker import DockerBackend
from agentdistill.sandbox.pool import Pool


def test_a_pool_hands_out_sandboxes_that_are_ready_and_closes_all_of_them(client, image):
    before = ours(client)
    with Pool(DockerBackend(limits=LIMITS, image=image), 2) as pool:
        assert pool.fill(60)
        began = time.monotonic()
        with pool.create() as sandbox:
            assert sandbox.exec(["true"]).exit_code == 0
        assert pool.fill(60)
        assert time.monotonic() - began < 30
    assert gone(client, before)


def test_a_pool_never_hands_out_what_died_while_it_waited(client, image):
    with Pool(DockerBackend(limits=LIMITS, image=image), 2) as pool:
        assert pool.fill(60)
        for name in ours(client):
            client.remove_container(name, force=True)
        with pool.create() as sandbox:
            assert sandbox.exec(["true"]).exit_code == 0


def test_a_pool_that_cannot_start_any_says_why_to_whoever_asks(client):
    with Pool(DockerBackend(image="nowhere:1"), 2) as pool:
        assert not pool.fill(60)
        with pytest.raises(SandboxUnavailableError, match="docker pull"):
            pool.create()
