"""A curriculum over rounds: which tasks, how early the teacher steps in, how much it gives, and when to stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from agentdistill.records import Divergence, Task, Trajectory
from agentdistill.results import Rate

Share = Annotated[float, Field(ge=0, le=1)]


class Curriculum(BaseModel):
    """What changes from round to round. Lists are one number per round; the last one stays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: Literal["fresh", "by_success", "in_turn"] = "fresh"
    """`fresh`: a new task each time. `by_success`: from a fixed set, those most often that are solved half the time.
    `in_turn`: a fixed set, one after another, again and again."""
    set_size: int = Field(default=256, gt=0)
    """How many tasks the fixed set has."""
    rest_after: int = Field(default=3, gt=0)
    """A task of the fixed set that was solved so many times in a row rests for a round."""
    delay: tuple[Share, ...] = (0.0,)
    """How late the teacher steps in: 0 at the divergence itself, 1 at the end of the student's run."""
    depth: tuple[Annotated[int, Field(gt=0)], ...] = ()
    """Most turns of the student in one run (TCOD, 2604.24005, front to back); by default as many as the task allows."""
    lead: tuple[Annotated[int, Field(ge=0)], ...] = (0,)
    """Turns that the teacher takes before the student begins to act (TCOD, back to front); they are charged."""
    budget: tuple[Annotated[float, Field(gt=0)], ...] = (1.0,)
    """How the budget is divided among the rounds: weights."""
    stop_when_flat: float | None = Field(default=None, ge=0)
    """Stop after a round in which the recovery rate rose by less than this; by default all rounds are done."""


def at(schedule: Sequence[float], number: int) -> float:
    """What a schedule says for round `number` (from 0): its last value stays."""
    return schedule[min(number, len(schedule) - 1)]


def share_of_budget(curriculum: Curriculum, number: int, rounds: int, budget: int) -> int:
    """The teacher tokens of round `number`; those of all rounds add up to the budget."""
    weights = [at(curriculum.budget, each) for each in range(rounds)]
    before, until = sum(weights[:number]) / sum(weights), sum(weights[: number + 1]) / sum(weights)
    return round(budget * until) - round(budget * before)


def delayed(trajectory: Trajectory, found: Divergence, delay: float) -> Divergence:
    """The divergence, moved towards the end of the run: 0 leaves it, 1 is the last step with something after it."""
    last = max(found.step, len(trajectory.steps) - 1)
    step = found.step + round(delay * (last - found.step))
    if step == found.step:
        return found
    return found.model_copy(update={"step": step, "reason": f"{found.reason}, {step - found.step} steps later"})


def draw_tasks(
    tasks: Sequence[Task], history: Mapping[str, Sequence[bool]], count: int, seed: int, rest_after: int
) -> list[Task]:
    """`count` tasks, drawn with weights p(1 - p) of each one's success rate p so far (one success and one failure
    added, so that nothing is certain). A task whose last `rest_after` runs all succeeded is not drawn.

    Args:
        history: by a task's content hash, how its runs ended, oldest first.
        seed: decides the draw.
    """
    weights = []
    for task in tasks:
        ended = list(history.get(task.content_hash, ()))
        rests = len(ended) >= rest_after and all(ended[-rest_after:])
        rate = (1 + sum(ended)) / (2 + len(ended))
        weights.append(0.0 if rests else rate * (1 - rate))
    if not any(weights):  # everything is solved: nobody rests
        weights = [1.0] * len(tasks)
    share = np.asarray(weights) / sum(weights)
    drawn = np.random.default_rng(seed).choice(len(tasks), size=count, replace=True, p=share)
    return [tasks[index] for index in drawn]


def is_flat(before: Rate, now: Rate, least: float) -> bool:
    """Whether the recovery rate has risen by less than `least` since the round before."""
    return now.rate - before.rate < least
