"""Task folders of somebody else's, each in the world it describes: their images are built, their rewards are read."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from agentdistill_environments.terminal import Terminal
from images import python_image
from test_docker_images import forget_built

from agentdistill.errors import InfrastructureError, TaskError
from agentdistill.formats.harbor import find_tasks
from agentdistill.records import Message, ToolCall, Verdict
from agentdistill.sandbox import SandboxBackend
from agentdistill.sandbox.base import Limits
from agentdistill.sandbox.docker import DockerBackend
from agentdistill.sandbox.pool import Pool
from agentdistill.testing.tasks import check_task

pytestmark = pytest.mark.slow

HARBOR = Path(__file__).parents[2] / "harbor"
TASKS = Path(__file__).parents[3] / "tasks"
BASE = "agentdistill-test-base"


@pytest.fixture(scope="module")
def base(client) -> Iterator[str]:
    client.tag(python_image(client), BASE, "latest")
    yield f"{BASE}:latest"
    forget_built(client)
    client.remove_image(f"{BASE}:latest", force=True)


@pytest.fixture(scope="module")
def backend(base) -> Iterator[DockerBackend]:
    with DockerBackend(limits=Limits(seconds=60)) as backend:
        yield backend


@pytest.fixture(scope="module")
def containers(base) -> Iterator[SandboxBackend]:
    """Containers of one image, for tasks that any sandbox with bash and Python will do for; some are started ahead."""
    with Pool(DockerBackend(image=base, limits=Limits(seconds=60)), 3) as backend:
        yield backend


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("folder", find_tasks(TASKS), ids=lambda folder: folder.name)
def test_every_task_in_the_house_is_fit_in_containers_too(containers, folder):
    # What becomes of cheats and of hidden files does not depend on the task: one is enough here, where it takes long.
    whole = folder.name == "interrupted-rename"
    found = list(
        check_task(Terminal, folder, containers, () if whole else ("solution", "nothing done", "wrong", "mess"))
    )
    assert not [check for check in found if check.status == "failed"]
    assert len(found) == (9 if whole else 6)


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


def made(place: Path, base: str, settings: str, test: str) -> Path:
    """A task whose image has a user."""
    (place / "environment").mkdir(parents=True)
    (place / "tests").mkdir()
    (place / "environment" / "Dockerfile").write_text(
        f"FROM {base}\nRUN echo 'clerk:x:1500:1500::/:/bin/sh' >> /etc/passwd\nWORKDIR /srv/desk\nCOPY note .\n"
    )
    (place / "environment" / "note").write_text("a note\n")
    (place / "instruction.md").write_text("Work.")
    (place / "tests" / "test.sh").write_text(test)
    (place / "task.toml").write_text(f'[task]\nname = "a/desk"\n{settings}')
    return place


def test_users_of_the_image_act_and_judge_within_the_tasks_limits(backend, base, tmp_path):
    settings = (
        '[agent]\nuser = "clerk"\n[verifier]\nuser = 1501\nenv = {WORD = "yes"}\n'
        '[environment]\nmemory_mb = 200\ncpus = 0.5\nenv = {KIND = "bolt"}\n'
    )
    test = "test $(id -u)$WORD$KIND$(cat done) = 1501yesbolt1500 && echo 0.5 > /logs/verifier/reward.txt"
    env = terminal(backend, made(tmp_path, base, settings, test))
    assert call(env, "bash", command="id -u; pwd; cat note; echo $KIND; id -u > done; ls -d /logs")[0].startswith(
        "1500\n/srv/desk\na note\nbolt\nls: "
    )
    limit = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null"
    assert call(env, "bash", command=limit)[0].split()[0] == str(200 << 20)
    kept = env.snapshot()
    other = Terminal(tasks=HARBOR, sandboxes=backend)
    other.reset(options={"task": next(t for t in other.make_tasks("train", 9) if "multi" in t.id)})
    again = Terminal(tasks=tmp_path, sandboxes=backend)
    again.restore(kept, task=env.task)
    verdict = submit(again)
    assert verdict is not None
    assert (verdict.score, verdict.passed) == (0.5, False), verdict.detail
    for each in (env, other, again):
        each.close()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ('[agent]\nuser = "root"\n', "root"),
        ('[verifier]\nuser = "root"\n', "root"),
        ('[environment]\nnetwork_mode = "public"\n', "public_network = true"),
        ('[verifier]\nnetwork_mode = "allowlist"\n', "allowlist"),
    ],
)
def test_what_this_backend_does_not_give_is_refused_before_anybody_begins(backend, base, tmp_path, settings, complaint):
    with pytest.raises(TaskError, match=complaint):
        terminal(backend, made(tmp_path, base, settings, "true"))


def test_several_containers_are_refused(backend, base, tmp_path):
    (made(tmp_path, base, "", "true") / "environment" / "docker-compose.yaml").write_text("services: {}\n")
    with pytest.raises(TaskError, match=r"docker-compose\.yaml"):
        terminal(backend, tmp_path)


def test_an_image_that_cannot_be_had_is_the_machinerys_fault(backend, base, tmp_path):
    folder = made(tmp_path, base, '[environment]\ndocker_image = "agentdistill-test:none"\n', "true")
    with pytest.raises(InfrastructureError, match="docker pull"):
        terminal(backend, folder)
