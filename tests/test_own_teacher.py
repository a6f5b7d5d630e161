"""A teacher that a user writes in one file takes over like any other."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from students import call, run_all, specs_of

from agentdistill.loading import load_environment
from agentdistill.policies import Policy
from agentdistill.policies.scripted import ScriptedPolicy
from agentdistill.records import Divergence
from agentdistill.rollout import Rollout
from agentdistill.takeover import Takeover, TakeoverConfig

EXAMPLES = Path(__file__).parent.parent / "examples"


def own_teacher() -> Any:
    spec = importlib.util.spec_from_file_location("own_teacher", EXAMPLES / "own_teacher.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Pourer()


def test_a_users_teacher_climbs_out_of_what_can_be_mended_and_not_out_of_too_much():
    make = load_environment(f"{EXAMPLES / 'tank.py'}:Tank")
    tasks = [task for task in make().make_tasks("train", 8) if task.data["goal"] > 1]  # type: ignore[operator]
    turns = {"short": [1, 0], "over": [1, 40_000, 40_000, 40_000]}
    teacher = own_teacher()
    assert isinstance(teacher, Policy)
    for kind, litres in turns.items():
        student = ScriptedPolicy(
            lambda request, pours=litres: (
                call("fill", litres=pours[at])
                if (at := sum(m.role == "assistant" for m in request.messages)) < len(pours)
                else call("close_tank")
            )
        )
        traces = run_all(Rollout(make, student, workers=1), specs_of(tasks))
        step = len(litres)
        failures = [(t, Divergence(trajectory_id=t.id, step=step, reason="", detector="hand")) for t in traces]
        recoveries = list(Takeover(TakeoverConfig(), [Rollout(make, teacher, workers=1)]).run(failures))
        assert len(recoveries) == len(tasks)
        assert {each.verified for each in recoveries} == {kind == "short"}
        for each in recoveries:
            assert each.trajectory.policy == "pourer"
            assert each.teacher_tokens == 8 * (len(each.trajectory.steps) - step)
