"""Whatever programs do in a real sandbox, any of its worlds comes back exactly, there and in forks."""

import json
from collections.abc import Iterator
from pathlib import Path

import acts
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worlds import ACTS

from agentdistill.sandbox import Sandbox, SandboxBackend

PROGRAM = Path(acts.__file__).read_bytes()
FEW = settings(
    max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)


@pytest.fixture(scope="module", params=["bubblewrap", "docker"])
def either(request) -> Iterator[SandboxBackend]:
    if request.param == "bubblewrap":
        yield request.getfixturevalue("backend")
    else:
        from agentdistill.sandbox.docker import DockerBackend

        with DockerBackend(**request.getfixturevalue("docker_options")) as backend:
            yield backend


def do(sandbox: Sandbox, what: list) -> str:
    """Let a program inside do something, and say what is there then."""
    listed = json.dumps([[each.hex() if isinstance(each, bytes) else each for each in one] for one in what])
    files = {"acts.py": PROGRAM, "what.json": listed.encode()}
    done = sandbox.exec([sandbox.python, "-I", "/run/files/acts.py", "/run/files/what.json"], files=files)
    assert done.exit_code == 0, done.output
    assert not done.truncated
    return done.output


@FEW
@given(data=st.data(), steps=st.lists(st.lists(ACTS, max_size=8), min_size=1, max_size=5))
def test_any_world_of_a_real_sandbox_comes_back_exactly(either, data, steps):
    with either.create() as sandbox:
        kept = []
        for step in steps:
            world = do(sandbox, step)
            kept.append((sandbox.snapshot(), world))
        assert len({name for name, _ in kept}) == len({world for _, world in kept})
        for name, world in data.draw(st.lists(st.sampled_from(kept), min_size=1, max_size=4)):
            do(sandbox, data.draw(st.lists(ACTS, max_size=3)))
            sandbox.restore(name)
            assert do(sandbox, []) == world
            assert sandbox.snapshot() == name
        name, world = data.draw(st.sampled_from(kept))
        with either.create(name) as fork:
            assert do(fork, []) == world
            do(fork, data.draw(st.lists(ACTS, max_size=3)))
            assert sandbox.snapshot() in {name for name, _ in kept}
