"""Rollout: how episodes end, what breaks them, and that nothing of it depends on who runs beside them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from agentdistill_environments.depot import Depot
from students import SMALL, call, depot_student, depot_tokenizer, play, run_all, specs_of, untrained

from agentdistill.environment import ToolEnvironment
from agentdistill.errors import PolicyError, SandboxLostError, UsageError, VerifierError
from agentdistill.evaluation import success_rate
from agentdistill.policies import Request
from agentdistill.policies.local import LocalPolicy
from agentdistill.policies.scripted import ScriptedPolicy, ScriptedTeacher
from agentdistill.records import Completion, Message, Task, ToolCall, Trajectory, Verdict
from agentdistill.rollout import EpisodeSpec, Rollout
from agentdistill.tools import tool


class Fuse(ToolEnvironment):
    """An environment whose machinery breaks where it is told to, as often as it is told to."""

    step_limit = 4
    state: int
    broken: dict[str, int] = {}
    made: list[Fuse] = []
    guard = threading.Lock()

    def __init__(self, **settings: object) -> None:
        super().__init__()
        self.made.append(self)
        self.closed = False

    def setup(self, task: Task) -> None:
        self.state = 0
        self.blow("setup")

    def blow(self, where: str) -> None:
        with self.guard:
            left = self.broken.get(f"{self.task.id} {where}", 0)
            self.broken[f"{self.task.id} {where}"] = left - 1
        if left > 0:
            raise SandboxLostError(f"lost in {where}")

    def close(self) -> None:
        self.closed = True

    @property
    def goal(self) -> int:
        return int(str(self.task.data.get("goal", 2)))

    @property
    def crash(self) -> bool:
        return bool(self.task.data.get("crash"))

    def verify(self) -> Verdict:
        self.blow("verify")
        if self.task.data.get("grader"):
            raise VerifierError("the grader is out")
        return Verdict(passed=self.state >= self.goal, score=float(self.state >= self.goal))

    @tool
    def add(self) -> str:
        """Count."""
        self.blow("add")
        if self.crash:
            raise ZeroDivisionError("somebody's bug")
        self.state += 1
        return str(self.state)

    @tool
    def submit(self) -> str:
        """Hand in."""
        self.end()
        return "done"

    def teach(self, messages: tuple[Message, ...], style: str) -> Message:
        return call("submit") if self.state >= self.goal else call("add")


@pytest.fixture(autouse=True)
def _intact():
    Fuse.broken, Fuse.made = {}, []


def tasks(*names: str, **data: int) -> list[Task]:
    return [Task(id=name, environment="fuse", instruction="count", data=dict(data)) for name in names]


def answering(*turns: Message) -> ScriptedPolicy:
    """Says these turns in order, the last of them again and again."""
    return ScriptedPolicy(
        lambda request: turns[min(len(turns) - 1, sum(each.role == "assistant" for each in request.messages))]
    )


def one(environment: Callable[[], ToolEnvironment], policy: ScriptedPolicy | ScriptedTeacher, task: Task) -> Trajectory:
    (trajectory,) = run_all(Rollout(environment, policy, workers=1), specs_of([task]))
    return trajectory


def test_an_episode_that_was_handed_in_is_submitted():
    done = one(Fuse, ScriptedTeacher(), tasks("a")[0])
    assert (done.ending, done.succeeded, len(done.steps)) == ("submitted", True, 3)
    assert done.verdict == Verdict(passed=True, score=1.0)
    assert done.steps[-1].reward == 1.0


def test_a_hand_in_in_the_last_step_is_submitted_too():
    done = one(Fuse, answering(call("add"), call("add"), call("add"), call("submit")), tasks("a")[0])
    assert (done.ending, done.succeeded, len(done.steps)) == ("submitted", True, 4)


def test_an_episode_out_of_steps_ends_at_the_limit_and_is_judged():
    done = one(Fuse, answering(call("add")), tasks("a")[0])
    assert (done.ending, done.succeeded, len(done.steps)) == ("step_limit", True, 4)
    assert one(Fuse, answering(call("add")), tasks("a", goal=9)[0]).failed


def test_a_conversation_that_fills_the_context_ends_at_the_context_limit_and_is_judged():
    small = SMALL.model_copy(update={"context": 90})
    for done in play(Depot, LocalPolicy(untrained(config=small), depot_tokenizer()), 4):
        assert done.ending == "context_limit"
        assert done.failed
        assert done.verdict is not None
        used = [*done.steps[-1].completion.context_ids, *done.steps[-1].completion.token_ids] if done.steps else []
        assert sum(len(s.completion.context_ids) + len(s.completion.token_ids) for s in done.steps) <= 90
        assert len(used) <= 90


@pytest.mark.parametrize("where", ["setup", "add", "verify"])
def test_broken_machinery_is_tried_again(where):
    Fuse.broken = {f"a {where}": 1}
    done = one(Fuse, ScriptedTeacher(), tasks("a")[0])
    assert done.succeeded
    assert [len(done.steps), done.error] == [3, ""]


@pytest.mark.parametrize("where", ["setup", "add", "verify"])
def test_machinery_that_stays_broken_is_an_error_and_no_failure(where):
    Fuse.broken = {f"b {where}": 99}
    rollout = Rollout(Fuse, ScriptedTeacher(), workers=2, retries=2)
    a, b, c = run_all(rollout, specs_of(tasks("a", "b", "c")))
    assert (b.errored, b.failed, b.succeeded, b.verdict) == (True, False, False, None)
    assert f"SandboxLostError: lost in {where}" in b.error
    assert Fuse.broken[f"b {where}"] == 99 - 3
    assert a.succeeded
    assert c.succeeded
    assert success_rate([a, b, c]).n == 2


def test_a_crash_of_the_environment_is_the_machinerys_failure():
    done = one(Fuse, ScriptedTeacher(), tasks("a", crash=1)[0])
    assert done.errored
    assert "ZeroDivisionError: somebody's bug" in done.error


def test_a_grader_that_breaks_is_no_verdict():
    done = one(Fuse, ScriptedTeacher(), tasks("a", grader=1)[0])
    assert (done.errored, done.verdict) == (True, None)


def test_a_task_at_fault_stops_the_run():
    class Picky(Fuse):
        def setup(self, task: Task) -> None:
            raise UsageError("no such task")

    with pytest.raises(UsageError, match="no such task"):
        one(Picky, ScriptedTeacher(), tasks("a")[0])


def test_a_world_that_broke_is_closed_and_not_used_again():
    Fuse.broken = {"a add": 1}
    one(Fuse, ScriptedTeacher(), tasks("a")[0])
    assert len(Fuse.made) == 2
    assert all(each.closed for each in Fuse.made)


def test_no_more_worlds_are_made_than_live_at_once_and_all_are_closed():
    run_all(Rollout(Fuse, ScriptedTeacher(), workers=2, live=3), specs_of(tasks(*"abcdefghij")))
    assert len(Fuse.made) <= 3
    assert all(each.closed for each in Fuse.made)


def test_who_stops_listening_leaves_no_world_open():
    running = Rollout(Fuse, ScriptedTeacher(), workers=2, live=3).run(specs_of(tasks(*"abcdefghij")))
    next(running)
    running.close()
    assert all(each.closed for each in Fuse.made)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("world")]


class Moody:
    """A policy that does not answer for the first few times."""

    name, privileged = "moody", True

    def __init__(self, silent: int) -> None:
        self.silent = silent
        self.teacher = ScriptedTeacher()

    def act(self, requests: Sequence[Request]) -> list[Completion]:
        self.silent -= 1
        if self.silent >= 0:
            raise PolicyError("no answer")
        return self.teacher.act(requests)


def test_a_policy_that_does_not_answer_is_asked_again():
    assert all(each.succeeded for each in run_all(Rollout(Fuse, Moody(1), workers=1), specs_of(tasks("a", "b"))))


def test_a_policy_that_never_answers_makes_errors_not_failures():
    for done in run_all(Rollout(Fuse, Moody(99), workers=1), specs_of(tasks("a", "b"))):
        assert (done.errored, done.error) == (True, "PolicyError: no answer")


def test_a_teacher_of_an_environment_that_has_none_says_so():
    class Plain(Fuse):
        teach = None  # type: ignore[assignment]

    done = one(Plain, ScriptedTeacher(), tasks("a")[0])
    assert done.errored or "no scripted teacher" in done.error


def test_parallel_calls_are_run_in_order_and_answered_one_each():
    calls = tuple(ToolCall(id=f"call_0_{n}", name=name) for n, name in enumerate(("add", "add", "no", "submit", "add")))
    done = one(Fuse, answering(Message(role="assistant", tool_calls=calls)), tasks("a")[0])
    (step,) = done.steps
    assert [each.tool_call_id for each in step.observations] == [each.id for each in calls]
    assert [each.content for each in step.observations[:2]] == ["1", "2"]
    assert [each.status for each in step.outcomes] == ["ok", "ok", "unknown_tool", "ok", "failed"]
    assert (done.ending, done.succeeded) == ("submitted", True)


def test_every_step_has_the_world_after_it():
    done = one(Fuse, ScriptedTeacher(), tasks("a")[0])
    assert [done.world(step).state for step in range(4)] == [0, 1, 2, 2]
    assert [done.world(step).steps_taken for step in range(4)] == [0, 1, 2, 3]


def test_worlds_are_kept_only_where_they_are_wanted():
    (done,) = play(Depot, ScriptedTeacher(), 1, keep_snapshots=False)
    assert done.start is None
    assert all(step.snapshot is None for step in done.steps)


def test_trajectories_are_the_same_however_many_workers_and_worlds_there_are():
    specs = specs_of(Depot().make_tasks("train", 6))
    but_noise: Any = {"steps": {"__all__": {"completion": {"logprobs"}}}}
    found = [
        [
            each.model_dump(exclude=but_noise)
            for each in run_all(Rollout(Depot, depot_student(), workers=workers, live=live), specs)
        ]
        for workers, live in ((1, 256), (4, 256), (4, 3))
    ]
    assert found[0] == found[1] == found[2]


def test_the_same_seed_is_the_same_episode_and_another_is_another():
    (task,) = Depot().make_tasks("train", 1)
    # A policy of its own for each: what one remembers of earlier episodes is floating-point noise in the next.
    (first,), (again,), (other,) = (
        run_all(Rollout(Depot, depot_student(), workers=1), [EpisodeSpec(task, seed)]) for seed in (1, 1, 2)
    )
    assert first == again
    assert first.messages() != other.messages()


def test_an_episodes_id_names_all_that_decides_it():
    (task,) = Depot().make_tasks("train", 1)
    (trace,) = play(Depot, ScriptedTeacher(), 1)
    specs = [
        EpisodeSpec(task, 0),
        EpisodeSpec(task, 1),
        EpisodeSpec(task, 0, "teacher"),
        EpisodeSpec(task, 0, fork=(trace, 1)),
        EpisodeSpec(task, 0, fork=(trace, 2)),
        EpisodeSpec(task, 0, fork=(trace, 2), reseed=True),
        EpisodeSpec(task.model_copy(update={"instruction": "else"}), 0),
    ]
    assert len({spec.id for spec in specs}) == len(specs)


def test_a_fork_without_a_snapshot_is_an_error_and_no_failure():
    (trace,) = play(Depot, ScriptedTeacher(), 1, keep_snapshots=False)
    (done,) = run_all(Rollout(Depot, ScriptedTeacher(), workers=1), [EpisodeSpec(trace.task, 0, fork=(trace, 2))])
    assert done.errored
    assert "kept no snapshot" in done.error
