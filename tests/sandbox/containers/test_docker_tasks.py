"""Task folders of somebody else's, each in the world it describes: their images are built, their rewards are read."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from agentdistill_environments.terminal import Terminal
from images import python_image
from test_docker_images import built

from agentdistill.records import Message, ToolCall, Verdict
from agentdistill.sandbox.base import Limits
from agentdistill.sandbox.docker import DockerBackend

pytestmark = pytest.mark.slow

HARBOR = Path(__file__).parents[2] / "harbor"
BASE = "agentdistill-test-base"


@pytest.fixture(scope="module")
def base(client) -> Iterator[str]:
    client.tag(python_image(client), BASE, "latest")
    yield f"{BASE}:latest"
    for name in built(client):
        client.remove_image(name, force=True)
    client.remove_image(f"{BASE}:latest", force=True)


@pytest.fixture(scope="module")
def backend(base) -> Iterator[DockerBackend]:
    with DockerBackend(limits=Limits(seconds=60)) as backend:
        yield backend


def terminal(backend: DockerBackend, folder: Path) -> Terminal:
    env = Terminal(tasks=folder, sandboxes=backend)
    env.reset(seed=0)
    return env


def call(env: Terminal, name: str, **arguments) -> tuple[str, dict]:
    said, _, _, _, info = env.step(
        Message(role="assistant", tool_calls=(ToolCall(id="call_0_0", name=name, arguments=arguments),))
    )
    return said[0].content, info


def behave(env: Terminal, folder: Path, how: str) -> None:
    """Do what is done in one step: the solution, nothing, or the cheat that the folder has."""
    step = env.present_step
    if how == "solution":
        done = env.run_solution()
        assert done.exit_code == 0, done.output
    elif how == "cheat":
        part = folder / "steps" / step.name if step is not None else folder
        call(env, "bash", command=(part / "cheats" / "cheat.sh").read_text())


def submit(env: Terminal) -> Verdict | None:
    return call(env, "submit")[1].get("verdict")


@pytest.mark.parametrize("folder", ["dockerfile-with-run", "separate-verifier"])
@pytest.mark.parametrize(("how", "reward"), [("solution", 1.0), ("nothing", 0.0), ("cheat", 0.0)])
def test_a_folder_of_one_step_gets_its_reward(backend, folder, how, reward):
    env = terminal(backend, HARBOR / folder)
    behave(env, HARBOR / folder, how)
    verdict = submit(env)
    assert verdict is not None
    assert (verdict.score, verdict.passed) == (reward, reward == 1), verdict.detail
    env.close()


@pytest.mark.parametrize(
    ("ways", "reward"),
    [
        (("solution", "solution", "solution"), 1.0),
        (("nothing",), 0.25),
        (("cheat",), 0.0),
        (("solution", "nothing", "nothing"), 1 / 3),
        (("solution", "cheat", "cheat"), 1 / 3),
        (("solution", "solution", "cheat"), 2 / 3),
    ],
)
def test_a_folder_of_three_steps_gets_the_mean_of_those_that_ran(backend, ways, reward):
    folder = HARBOR / "multi-step"
    env = terminal(backend, folder)
    for number, how in enumerate(ways):
        behave(env, folder, how)
        verdict = submit(env)
        assert (verdict is None) == (number + 1 < len(ways))
    assert verdict is not None
    assert verdict.score == pytest.approx(reward), verdict.detail
    assert verdict.passed == (reward == 1)
    env.close()
