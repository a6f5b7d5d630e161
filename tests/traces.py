"""Real episodes and takeovers on Depot, in which everything happens that a trace must hold: made in a second."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from agentdistill_environments.depot import Depot

from agentdistill.errors import PolicyError
from agentdistill.policies import Request
from agentdistill.policies.scripted import ScriptedPolicy, ScriptedTeacher
from agentdistill.records import Completion, Divergence, Message, Recovery, ToolCall, Trajectory
from agentdistill.rollout import EpisodeSpec, Rollout
from agentdistill.takeover import Takeover, TakeoverConfig


def calls(*named: tuple[str, dict[str, Any]], content: str = "", reasoning: str = "", problem: str = "") -> Message:
    made = tuple(
        ToolCall(id=f"call_{at}", name=name, arguments=arguments, problem=problem)
        for at, (name, arguments) in enumerate(named)
    )
    return Message(role="assistant", content=content, reasoning=reasoning, tool_calls=made)


LOOK = calls(("look", {}))
TURNS = [
    calls(("look", {}), ("go", {"place": "dock"}), content="Ich schaue nach 🙂 \u2028 ✓", reasoning="Où suis-je ?"),
    calls(("go", {}), problem="the arguments of the call are not valid JSON (Expecting value)"),
    Message(role="assistant", content="I am done."),
    calls(("go", {"place": "nowhere"}), ("fly", {"to": None})),
]


class Prompted(Depot):
    """Depot without luck, with a system prompt."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(gap=0, **settings)

    def opening(self, task: Any) -> tuple[Message, ...]:
        return (Message(role="system", content="You work in a warehouse."), *super().opening(task))


class Broken(ScriptedPolicy):
    """A policy whose server is gone after some turns."""

    def act(self, requests: Sequence[Request]) -> list[Completion]:
        if len([each for each in requests[0].messages if each.role == "assistant"]) >= 3:
            raise PolicyError("the server is gone")
        return super().act(requests)


def weak(request: Request) -> Message:
    turn = sum(message.role == "assistant" for message in request.messages)
    return TURNS[turn] if turn < len(TURNS) else LOOK


def episodes(policy: Any, make: Any = Prompted, **settings: Any) -> list[Trajectory]:
    specs = [EpisodeSpec(task, seed=number) for number, task in enumerate(make().make_tasks("train", 1))]
    return list(Rollout(make, policy, workers=1, retries=0, **settings).run(specs))


def recovered(failures: Sequence[Trajectory], make: Any = Prompted, step: int = 4, **config: Any) -> list[Recovery]:
    teacher = ScriptedTeacher("knowing", count=lambda message: 10)
    student = Rollout(make, ScriptedPolicy(weak, name="weak"), workers=1)
    takeover = Takeover(TakeoverConfig(**config), [Rollout(make, teacher, workers=1, retries=0)], student)
    found = [
        (each, Divergence(trajectory_id=each.id, step=step, reason="lost", detector="hand", evidence="“nowhere”"))
        for each in failures
    ]
    return list(takeover.run(found))


@cache
def real() -> dict[str, Trajectory | Recovery]:
    """One of each kind, by what it is."""
    policy = ScriptedPolicy(weak, name="weak")
    failures = episodes(policy)
    plain = episodes(policy, make=lambda: Depot(gap=0))
    return {
        "failed": failures[0],
        "no system prompt": plain[0],
        "solved": episodes(ScriptedTeacher("knowing"))[0],
        "errored": episodes(Broken(weak, name="weak"))[0],
        "after": recovered(failures)[0],
        "before": recovered(failures, place="before")[0],
        "from the start": recovered(failures, step=1, place="before")[0],
        "paused": recovered(failures, steps=2)[0],
        "handed back": recovered(failures, steps=2, hand_back=True)[0],
        "told in private": recovered(failures, note=("reference", "verdict"))[0],
        "several attempts": recovered(failures, attempts=2)[0],
        "not restored": recovered(episodes(policy, keep_snapshots=False))[0],
        "no system prompt, taken over": recovered(plain, make=lambda: Depot(gap=0))[0],
    }


def trajectory_of(record: Trajectory | Recovery) -> Trajectory:
    return record.trajectory if isinstance(record, Recovery) else record
