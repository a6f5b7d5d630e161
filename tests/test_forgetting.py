"""Snapshots of episodes that succeeded go, and none that a failed one needs goes with them."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from students import call

from agentdistill.environment import ToolEnvironment
from agentdistill.errors import SnapshotError
from agentdistill.policies import Request
from agentdistill.policies.scripted import ScriptedPolicy
from agentdistill.records import Divergence, Message, Task, Trajectory, Verdict
from agentdistill.resuming import run_stored
from agentdistill.rollout import EpisodeSpec, Rollout
from agentdistill.sandbox.bubblewrap import BubblewrapBackend
from agentdistill.store import EpisodeKey, RunStore
from agentdistill.takeover import Takeover, TakeoverConfig
from agentdistill.tools import tool


class Notes(ToolEnvironment):
    """Passes if the file says what the task wants."""

    uses_sandbox = True
    step_limit = 3
    state: None

    def setup(self, task: Task) -> None:
        self.state = None
        assert self.sandbox is not None
        self.sandbox.write_file("given", b"the same for all")

    def verify(self) -> Verdict:
        assert self.sandbox is not None
        passed = self.sandbox.read_file("note").decode() == self.task.instruction
        return Verdict(passed=passed, score=float(passed))

    @tool
    def write(self, text: str) -> str:
        """Write a note."""
        assert self.sandbox is not None
        self.sandbox.write_file("note", text.encode())
        return "written"


class Watch:
    def advance(self, amount: int = 1, note: str = "") -> None:
        pass

    def begin(self, stage: str, total: int | None = None) -> None:
        pass

    def end(self, note: str = "") -> None:
        pass


@pytest.fixture
def backend(tmp_path) -> Iterator[BubblewrapBackend]:
    with BubblewrapBackend(tmp_path / "sandbox") as backend:
        yield backend


def writes(request: Request) -> Message:
    """The same two notes in every episode, whatever the task wants."""
    turn = sum(message.role == "assistant" for message in request.messages)
    return call("write", text=["first", "second", "third"][turn])


def run(store: RunStore, backend: BubblewrapBackend, stage: str = "rollout") -> dict[str, Trajectory]:
    tasks = [Task(id=wanted, environment="notes", instruction=wanted) for wanted in ("third", "never")]
    rollout = Rollout(partial(Notes, sandboxes=backend), ScriptedPolicy(writes), workers=1)
    done = run_stored(store, rollout, stage, "arm", 0, [EpisodeSpec(task, 0) for task in tasks], Watch())
    return {trace.task.id: trace for trace in done}


def kept(backend: BubblewrapBackend, trace: Trajectory) -> list[bool]:
    """Which of its worlds, the first to the last, can be restored."""
    found = []
    for step in range(len(trace.steps) + 1):
        world = trace.world(step)
        assert world is not None
        assert world.sandbox is not None
        try:
            backend.create(world.sandbox).close()
        except SnapshotError:
            found.append(False)
        else:
            found.append(True)
    return found


def test_worlds_that_a_failure_shares_with_a_success_stay(backend, tmp_path):
    with RunStore.resume(tmp_path / "run", {}) as store:
        done = run(store, backend)
    assert done["third"].succeeded
    assert done["never"].failed
    assert [done["third"].world(step).sandbox for step in range(4)] == [
        done["never"].world(step).sandbox for step in range(4)
    ]
    assert kept(backend, done["never"]) == [True] * 4


def test_worlds_of_successes_alone_go(backend, tmp_path):
    with RunStore.resume(tmp_path / "run", {}) as store:
        tasks = [Task(id="third", environment="notes", instruction="third")]
        rollout = Rollout(partial(Notes, sandboxes=backend), ScriptedPolicy(writes), workers=1)
        (done,) = run_stored(store, rollout, "rollout", "arm", 0, [EpisodeSpec(tasks[0], 0)], Watch())
        assert done.succeeded
        assert kept(backend, done) == [False] * 4


def test_a_success_that_somebody_takes_over_as_well_keeps_its_worlds(backend, tmp_path):
    """Also when a killed run is resumed: a takeover at a random step of any run begins from them."""
    spec = EpisodeSpec(Task(id="third", environment="notes", instruction="third"), 0)
    rollout = Rollout(partial(Notes, sandboxes=backend), ScriptedPolicy(writes), workers=1)
    with RunStore.resume(tmp_path / "run", {}) as store:
        for _ in range(2):
            (done,) = run_stored(store, rollout, "rollout", "arm", 0, [spec], Watch(), keep=True)
            assert done.succeeded
            assert kept(backend, done) == [True] * 4
        found = Divergence(trajectory_id=done.id, step=1, detector="random", reason="by chance", confidence=1.0)
        (recovery,) = Takeover(TakeoverConfig(), [rollout]).run([(done, found)])
        assert recovery.trajectory.succeeded


def test_another_stage_with_the_same_episodes_takes_nothing_away(backend, tmp_path):
    with RunStore.resume(tmp_path / "run", {}) as store:
        failed = run(store, backend)["never"]
        again = run(store, backend, "evaluation")
        assert again["third"].succeeded
        assert kept(backend, failed) == [True] * 4


def test_what_a_killed_run_did_not_let_go_goes_when_it_is_resumed(backend, tmp_path):
    task = Task(id="third", environment="notes", instruction="third")
    rollout = Rollout(partial(Notes, sandboxes=backend), ScriptedPolicy(writes), workers=1, stage="rollout/arm/0")
    (done,) = rollout.run([EpisodeSpec(task, 0)])
    assert kept(backend, done) == [True] * 4
    with RunStore.resume(tmp_path / "run", {}) as store:
        store.save_trajectory(EpisodeKey(stage="rollout", arm="arm", round=0, task_id="third"), done)
        run_stored(store, rollout, "rollout", "arm", 0, [EpisodeSpec(task, 0)], Watch())
    assert kept(backend, done) == [False] * 4


def test_an_episode_of_no_stage_keeps_its_worlds(backend, tmp_path: Path):
    task = Task(id="third", environment="notes", instruction="third")
    rollout = Rollout(partial(Notes, sandboxes=backend), ScriptedPolicy(writes), workers=1)
    (done,) = rollout.run([EpisodeSpec(task, 0)])
    rollout.release([done.id])
    assert kept(backend, done) == [True] * 4
