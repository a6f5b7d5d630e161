"""Transcripts of an environment, to train a tokenizer on: clean, exploring, and by somebody who wanders off."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from agentdistill.environment import ToolEnvironment
from agentdistill.policies.base import Request
from agentdistill.policies.scripted import ScriptedTeacher
from agentdistill.policies.tiny import TinyConfig, make_tokenizer
from agentdistill.records import Completion, Message, Trajectory, derive_seed
from agentdistill.rollout import EpisodeSpec, Rollout, Watcher

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

EPISODES = 120
SEED = 0
"""Of the transcripts that tokenizers learn from: the same in every run, so that all tiny models of one environment and
vocabulary share their tokens, and one can be another's teacher token by token."""


def tokenizer_of(
    make_environment: Callable[[], ToolEnvironment], config: TinyConfig, watch: Watcher
) -> PreTrainedTokenizerFast:
    """The tokenizer of the tiny models of an environment: the same for every seed of a run."""
    return make_tokenizer(transcripts(make_environment, SEED, watch), config)


class Wanderer:
    """Takes the teacher's turn or, as often, one that a teacher took somewhere else: so that every answer is seen."""

    privileged = True
    name = "wanderer"

    def __init__(self, turns: Sequence[Message]) -> None:
        self.turns = turns
        self.teacher = ScriptedTeacher("exploring")

    def act(self, requests: Sequence[Request]) -> list[Completion]:
        """One turn for each request, decided by its seed."""
        answers = self.teacher.act(requests)
        for index, request in enumerate(requests):
            luck = np.random.default_rng(request.seed)
            if luck.random() < 0.5:
                stray = self.turns[int(luck.integers(len(self.turns)))]
                answers[index] = Completion(message=stray, model=self.name)
        return answers


def transcripts(make_environment: Callable[[], ToolEnvironment], seed: int, watch: Watcher) -> Iterator[str]:
    """Texts of messages and calls of a few hundred training episodes."""
    source = make_environment()
    tasks = source.make_tasks("train", EPISODES, derive_seed("transcripts", seed) % 2**31)
    turns: list[Message] = []
    for style in ("knowing", "exploring", "wandering"):
        policy = ScriptedTeacher(style) if style != "wandering" else Wanderer(turns)
        rollout = Rollout(make_environment, policy, keep_snapshots=False)
        specs = [EpisodeSpec(task, derive_seed(style, seed, task.id)) for task in tasks]
        ended: dict[str, Trajectory] = {}
        for trajectory in rollout.run(specs):
            ended[trajectory.id] = trajectory
            watch.advance(1)
        # Not in the order in which they ended: that depends on threads, and the wanderer draws from these turns.
        for spec in specs:
            turns += [step.completion.message for step in ended[spec.id].steps]
            yield from _texts(ended[spec.id])


def _texts(trajectory: Trajectory) -> Iterator[str]:
    for message in trajectory.messages():
        yield message.content
        for call in message.tool_calls:
            yield f'{{"name": "{call.name}", "arguments": {json.dumps(call.arguments, ensure_ascii=False)}}}'
