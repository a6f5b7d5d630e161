"""Takeover: the teacher starts exactly where the student was, and the hidden check says whether it climbed out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from agentdistill_environments.depot import Depot
from agentdistill_environments.repair import Repair
from students import call, depot_student, diverging, play, run_all, specs_of, spoiling_edit

from agentdistill.divergence import RandomStep
from agentdistill.environment import ToolEnvironment
from agentdistill.policies import Request
from agentdistill.policies.scripted import ScriptedPolicy, ScriptedTeacher
from agentdistill.records import Completion, Divergence, Recovery, Snapshot, Trajectory
from agentdistill.rollout import Rollout
from agentdistill.sandbox.bubblewrap import BubblewrapBackend
from agentdistill.takeover import Takeover, TakeoverConfig


class Witness:
    """A teacher that notes the world and the conversation it is first asked in, and counts 10 tokens a turn."""

    privileged = True
    name = "witness"

    def __init__(self) -> None:
        self.teacher = ScriptedTeacher("knowing", count=lambda message: 10)
        self.met: dict[tuple[str, int], tuple[Request, Snapshot, int]] = {}

    def act(self, requests: Sequence[Request]) -> list[Completion]:
        for request in requests:
            world = request.world
            assert isinstance(world, ToolEnvironment)
            self.met.setdefault((world.task.id, len(request.messages)), (request, world.snapshot(), world.remaining))
        return self.teacher.act(requests)


def recoveries(rollout: Rollout, failures: list[tuple[Trajectory, Divergence]]) -> list[Recovery]:
    """In the order of `failures`."""
    done = {each.divergence.trajectory_id: each for each in Takeover(TakeoverConfig(), [rollout]).run(failures)}
    return [done[trace.id] for trace, _ in failures]


def random_failures(count: int = 10) -> list[tuple[Trajectory, Divergence]]:
    return diverging(play(lambda: Depot(gap=0.3), depot_student(), count), RandomStep())


def check_start(witness: Witness, failures: list[tuple[Trajectory, Divergence]], step_limit: int) -> None:
    """World and conversation where the teacher starts are the student's at that step; so are the steps left."""
    for trace, divergence in failures:
        messages = trace.messages(divergence.step)
        request, world, remaining = witness.met[trace.task.id, len(messages)]
        student = trace.world(divergence.step)
        assert request.messages == messages
        assert world == student
        assert student is not None
        assert world.world_digest == student.world_digest
        assert remaining == step_limit - divergence.step


def test_on_depot_the_teacher_starts_in_the_students_world_and_conversation():
    failures, witness = random_failures(), Witness()
    assert failures
    recoveries(Rollout(lambda: Depot(gap=0.3), witness, workers=2), failures)
    check_start(witness, failures, Depot.step_limit)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[BubblewrapBackend]:
    with BubblewrapBackend(tmp_path / "sandbox") as backend:
        yield backend


def test_on_repair_the_teacher_starts_in_the_students_files_and_conversation(backend):
    def make() -> Repair:
        return Repair(gap=0.5, sandboxes=backend)

    maker = make()
    (task,) = maker.make_tasks("train", 1)
    maker.close()
    path = str(task.data["path"])
    mess = [
        call("open", path="no/such/file.py"),
        call("list"),
        call("open", path=path),
        spoiling_edit(task),
        call("open", path="tests/../" + path),
        call("test"),
        call("submit"),
    ]
    student = ScriptedPolicy(lambda request: mess[sum(each.role == "assistant" for each in request.messages)])
    (trace,) = run_all(Rollout(make, student, workers=1), specs_of([task]))
    assert trace.failed
    assert [outcome.status for step in trace.steps[:4] for outcome in step.outcomes] == ["failed", "ok", "ok", "ok"]
    for step in (1, 4, 6):
        divergence = Divergence(trajectory_id=trace.id, step=step, reason="", detector="hand")
        witness = Witness()
        (recovery,) = recoveries(Rollout(make, witness, workers=1), [(trace, divergence)])
        check_start(witness, [(trace, divergence)], Repair.step_limit)
        assert recovery.verified
        assert recovery.trajectory.steps[:step] == trace.steps[:step]


def test_the_students_steps_are_the_prefix_and_the_rest_is_the_teachers():
    failures = random_failures()
    for (trace, divergence), recovery in zip(
        failures, recoveries(Rollout(lambda: Depot(gap=0.3), ScriptedTeacher(), workers=1), failures), strict=True
    ):
        climb = recovery.trajectory
        assert climb.steps[: divergence.step] == trace.steps[: divergence.step]
        assert {step.actor for step in climb.steps[divergence.step :]} == {"teacher"}
        assert climb.parent is not None
        assert (climb.parent.trajectory_id, climb.parent.step) == (trace.id, divergence.step)
        assert (climb.opening, climb.task, climb.id != trace.id) == (trace.opening, trace.task, True)
        assert len(climb.steps) <= Depot.step_limit


def test_a_climb_is_verified_by_the_hidden_check_only():
    failures = random_failures()
    good = recoveries(Rollout(Depot, ScriptedTeacher(), workers=1), failures)
    talker = ScriptedPolicy(lambda request: call("find", item="bolt"), name="talker")
    bad = recoveries(Rollout(Depot, talker, workers=1), failures)
    assert any(each.verified for each in good)
    assert not any(each.verified for each in bad)
    for recovery in [*good, *bad]:
        verdict = recovery.trajectory.verdict
        assert verdict is not None
        assert recovery.verified == verdict.passed


def test_the_teachers_tokens_are_counted_and_the_students_are_not():
    failures = random_failures()
    for recovery in recoveries(Rollout(Depot, Witness(), workers=1), failures):
        own = len(recovery.trajectory.steps) - recovery.divergence.step
        assert recovery.teacher_tokens == recovery.trajectory.tokens("teacher") == 10 * own
        assert recovery.trajectory.tokens("student") == 0


def test_the_teacher_meets_the_luck_the_student_would_have_met():
    # One who does again what the student did sees again what the student saw, slips and all.
    for trace, divergence in random_failures():
        by_length = {len(trace.messages(n)): step.completion.message for n, step in enumerate(trace.steps)}
        parrot = ScriptedPolicy(lambda request, said=by_length: said.get(len(request.messages), call("look")))
        (again,) = recoveries(Rollout(lambda: Depot(gap=0.3), parrot, workers=1), [(trace, divergence)])
        length = len(trace.messages())
        assert again.trajectory.messages()[:length] == trace.messages()


def test_the_same_takeover_twice_is_the_same_takeover():
    failures = random_failures()
    one, two = (recoveries(Rollout(Depot, ScriptedTeacher(), workers=n), failures) for n in (1, 3))
    assert one == two


def test_a_takeover_whose_machinery_breaks_is_neither_verified_nor_failed():
    trace, divergence = random_failures(3)[0]
    steps = tuple(step.model_copy(update={"snapshot": None}) for step in trace.steps)
    lost = trace.model_copy(update={"steps": steps})
    (recovery,) = recoveries(Rollout(Depot, ScriptedTeacher(), workers=1), [(lost, divergence)])
    assert recovery.trajectory.errored
    assert not recovery.verified
    assert not recovery.trajectory.failed
    assert recovery.teacher_tokens == 0
