"""Episodes for the conformance suite: played at random, with a teacher's help, again from the middle."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from agentdistill.environment import ToolEnvironment
from agentdistill.policies.scripted import Teachable
from agentdistill.records import Message, Snapshot, Task

EPISODES = 3
"""Episodes a check plays: enough to meet most states of a small environment, few enough for sandboxes."""


class NotApplicable(Exception):
    """The environment has nothing for this check to look at."""


@dataclass
class Episode:
    """An episode that was played: what was done, what was answered, and the world before, between and after."""

    task: Task
    opening: tuple[Message, ...]
    actions: list[Message] = field(default_factory=list)
    said: list[tuple[Message, ...]] = field(default_factory=list)
    worlds: list[Snapshot] = field(default_factory=list)

    def messages(self, steps: int) -> tuple[Message, ...]:
        """The conversation after `steps` steps."""
        turns = zip(self.actions[:steps], self.said[:steps], strict=True)
        return (*self.opening, *itertools.chain.from_iterable((action, *said) for action, said in turns))


def play_mixed(environment: ToolEnvironment, seed: int) -> Episode:
    """An episode of random calls, every other one a teacher's where there is one: it gets further and errs more."""
    luck, tasks = np.random.default_rng(seed), some_tasks(environment)
    environment.action_space.seed(seed)
    opening, _ = environment.reset(seed=seed, options={"task": tasks[seed % len(tasks)]})
    played = Episode(environment.task, opening, worlds=[environment.snapshot()])
    while not environment.over:
        if isinstance(environment, Teachable) and luck.random() < 0.5:
            _act(environment, played, environment.teach(played.messages(len(played.said)), styles_of(environment)[0]))
        else:
            _act(environment, played, environment.action_space.sample())
        played.worlds.append(environment.snapshot())
    return played


def _act(environment: ToolEnvironment, played: Episode, action: Message) -> None:
    played.actions.append(action)
    played.said.append(environment.step(action)[0])


def replay(environment: ToolEnvironment, played: Episode, step: int) -> list[tuple[Message, ...]]:
    """What is answered when the same is done again from the world after `step` steps."""
    environment.restore(played.worlds[step], task=played.task)
    return [environment.step(action)[0] for action in played.actions[step:]]


def some_steps(played: Episode, seed: int) -> list[int]:
    """A few steps after which the episode was not over, the start among them."""
    later = np.random.default_rng(seed).permutation(range(1, len(played.said)))[:3]
    return [0, *sorted(later.tolist())]


def teach_to_the_end(environment: ToolEnvironment, messages: tuple[Message, ...], style: str) -> bool:
    """Let the teacher act from here on; true if it passes."""
    passed = False
    while not environment.over:
        action = cast("Teachable", environment).teach(messages, style)
        said, *_, info = environment.step(action)
        messages = (*messages, action, *said)
        passed = "verdict" in info and info["verdict"].passed
    return passed


def styles_of(environment: ToolEnvironment) -> tuple[str, ...]:
    """The styles of its teacher, best informed first.

    Raises:
        NotApplicable: it has none.
    """
    if not isinstance(environment, Teachable):
        raise NotApplicable("it has no teacher")
    return getattr(environment, "styles", ("knowing", "exploring"))


def draw_tasks(environment: ToolEnvironment, split: str, count: int) -> list[Task]:
    """Its first `count` tasks of a split.

    Raises:
        NotApplicable: it only draws tasks at random.
    """
    make_tasks = getattr(environment, "make_tasks", None)
    if make_tasks is None:
        raise NotApplicable("it has no make_tasks(split, count)")
    return list(make_tasks(split, count))


def some_tasks(environment: ToolEnvironment) -> list[Task]:
    """A few tasks of each split, or a few drawn at random where it does not list them."""
    try:
        return [*draw_tasks(environment, "train", EPISODES), *draw_tasks(environment, "heldout", EPISODES)]
    except NotApplicable:
        return [environment.make_task(np.random.default_rng(seed)) for seed in range(2 * EPISODES)]
