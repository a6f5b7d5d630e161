"""Steps per second per core of the in-memory environment, without a model.

Run it: ``python tests/bench/bench_environments.py``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

from agentdistill_environments.depot import Depot

from agentdistill.records import Message, Task

NEEDED = 2_000
RUNS = 5
EPISODES = 150


def steps_per_second(
    env: Depot, tasks: Sequence[Task], act: Callable[[tuple[Message, ...]], Message], keep: bool
) -> float:
    """Play every task once; reset, snapshots (with `keep`) and acting are all in the time."""
    taken, began = 0, time.process_time()
    for seed, task in enumerate(tasks):
        messages, _ = env.reset(seed=seed, options={"task": task})
        while not env.over:
            action = act(messages)
            said, *_ = env.step(action)
            messages = (*messages, action, *said)
            if keep:
                env.snapshot()
            taken += 1
    return taken / (time.process_time() - began)


def main() -> None:
    """Print the median of several runs of each way to act, and fail below what the project promises."""
    env = Depot()
    tasks = env.make_tasks("train", EPISODES)
    calls = [env.action_space.sample() for _ in range(997)]
    numbers = iter(range(1 << 40))
    ways: dict[str, tuple[Callable[[tuple[Message, ...]], Message], bool]] = {
        "random calls": (lambda _: calls[next(numbers) % len(calls)], False),
        "random calls, a snapshot each": (lambda _: calls[next(numbers) % len(calls)], True),
        "the knowing teacher, a snapshot each": (lambda messages: env.teach(messages, "knowing"), True),
    }
    for name, (act, keep) in ways.items():
        median = statistics.median(steps_per_second(env, tasks, act, keep) for _ in range(RUNS))
        print(f"depot, {name}: {median:,.0f} steps/s (median of {RUNS}; at least {NEEDED:,} needed)")
        assert median >= NEEDED, name


if __name__ == "__main__":
    main()
