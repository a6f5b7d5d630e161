"""The curriculum: which tasks, how early, how much, and when to stop."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdistill.curriculum import Curriculum, at, delayed, draw_tasks, share_of_budget
from agentdistill.records import Completion, Divergence, Message, Step, Task, Trajectory

TASKS = [Task(id=name, environment="e", instruction=name) for name in "abcd"]


def run(steps: int) -> Trajectory:
    step = Step(actor="student", completion=Completion(message=Message(role="assistant")), observations=())
    return Trajectory(
        id="run", task=TASKS[0], policy="p", seed=0, opening=(), steps=(step,) * steps, ending="step_limit"
    )


def found(step: int) -> Divergence:
    return Divergence(trajectory_id="run", step=step, reason="wrong", detector="d")


def test_the_last_value_of_a_schedule_stays():
    assert [at((1.0, 0.5), number) for number in range(4)] == [1.0, 0.5, 0.5, 0.5]


@given(
    st.lists(st.floats(0.1, 10), min_size=1, max_size=4),
    st.integers(1, 6),
    st.integers(0, 100_000),
)
def test_the_rounds_share_the_whole_budget_and_no_more(weights, rounds, budget):
    curriculum = Curriculum(budget=tuple(weights))
    shares = [share_of_budget(curriculum, number, rounds, budget) for number in range(rounds)]
    assert sum(shares) == budget
    assert min(shares) >= 0


def test_rounds_with_more_weight_get_more_of_the_budget():
    curriculum = Curriculum(budget=(1, 3))
    assert [share_of_budget(curriculum, number, 2, 8000) for number in range(2)] == [2000, 6000]


@given(st.integers(2, 30), st.data(), st.floats(0, 1))
def test_a_delayed_takeover_is_never_before_the_divergence_nor_after_the_last_step_with_something_left(
    steps, data, delay
):
    step = data.draw(st.integers(1, steps - 1))
    late = delayed(run(steps), found(step), delay)
    assert step <= late.step <= steps - 1


def test_a_delay_of_nothing_is_the_divergence_itself_and_a_whole_one_the_end():
    assert delayed(run(10), found(3), 0.0) == found(3)
    assert delayed(run(10), found(3), 1.0).step == 9


def told(ended: dict[str, list[bool]]) -> dict[str, list[bool]]:
    return {task.content_hash: ended[task.id] for task in TASKS}


def test_a_task_that_is_always_solved_rests():
    history = told({"a": [True, True, True], "b": [False], "c": [True, False], "d": [False, True, True]})
    drawn = Counter(task.id for task in draw_tasks(TASKS, history, 300, 0, rest_after=3))
    assert drawn["a"] == 0
    assert min(drawn["b"], drawn["c"], drawn["d"]) > 0


def test_tasks_solved_half_the_time_are_drawn_most():
    history = told({"a": [True, False] * 10, "b": [False] * 20, "c": [True] * 19 + [False], "d": [False] * 20})
    drawn = Counter(task.id for task in draw_tasks(TASKS, history, 1000, 0, rest_after=3))
    assert drawn["a"] > 2 * max(drawn["b"], drawn["c"], drawn["d"])


def test_where_everything_rests_all_are_drawn_again():
    history = {task.content_hash: [True] * 3 for task in TASKS}
    assert {task.id for task in draw_tasks(TASKS, history, 100, 0, rest_after=3)} == set("abcd")


@pytest.mark.parametrize("seed", range(3))
def test_the_same_seed_draws_the_same_tasks(seed):
    assert draw_tasks(TASKS, {}, 20, seed, 3) == draw_tasks(TASKS, {}, 20, seed, 3)
    assert draw_tasks(TASKS, {}, 20, seed, 3) != draw_tasks(TASKS, {}, 20, seed + 7, 3)
