"""A learned teacher of one to two million parameters, made in minutes: `python examples/tiny_teacher.py FOLDER`.

It is trained on what the scripted teachers of both ready environments say on training tasks (exploring ones, which know
no more than it does, unless told otherwise), and saved so that the Auto classes load it: a policy, and a scorer where
log-probabilities are wanted. What it says of traces on held-out tasks is printed beside what an untrained one says.

With `--like CONFIG` it is the teacher of the tiny students of that run, with their environment and their tokenizer, so
that the log-probabilities of the two can be compared token by token. It then learns to climb out as well: the scripted
teacher goes on where a wanderer, and later the learned teacher itself, has gone wrong, and only its turns carry loss.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from agentdistill.config import read_config
from agentdistill.environment import ToolEnvironment
from agentdistill.loading import load_environment
from agentdistill.policies import Policy
from agentdistill.policies.base import Scorer, ScoreRequest
from agentdistill.policies.local import LocalPolicy, Sampling
from agentdistill.policies.scripted import ScriptedTeacher
from agentdistill.policies.tiny import TinyConfig, make_student, make_tokenizer
from agentdistill.records import Segment, Task, Trajectory, derive_seed
from agentdistill.rollout import EpisodeSpec, MakeEnvironment, Rollout
from agentdistill.sandbox.loading import BackendSpec
from agentdistill.segments import segments_of
from agentdistill.settings import RunConfig
from agentdistill.training import Pool, Progress, TrainingConfig, save_checkpoint, train
from agentdistill.transcripts import Wanderer, tokenizer_of

ENVIRONMENTS = ("depot", "repair")
STYLES = ("exploring",)
LIVE = 128  # episodes at once
SIZE = TinyConfig(vocabulary=1500, hidden=256, layers=2, heads=2, context=640)
TRAINING = TrainingConfig(steps=1200, tokens_per_step=300, learning_rate=5e-3, weight_decay=0.3)
# With --like: as small as the students, but with far more to learn from. Narrow heads learn to copy soonest: measured.
LIKE_SIZE = TinyConfig(hidden=64, layers=2, heads=4)
LIKE_TRAINING = TrainingConfig(tokens_per_step=64, learning_rate=8e-3)


class Quiet:
    """Watches, and says nothing."""

    def begin(self, stage: str, total: int | None = None) -> None: ...

    def advance(self, amount: int = 1, note: str = "") -> None: ...

    def end(self, note: str = "") -> None: ...


@contextmanager
def worlds(name: str, **options: Any) -> Iterator[MakeEnvironment]:
    """Makes environments of this name; with sandboxes, if they use any."""
    make = partial(load_environment(name), **options)
    if not make().uses_sandbox:
        yield make
        return
    with tempfile.TemporaryDirectory() as folder:
        backend = BackendSpec("bubblewrap", {}).make(Path(folder))
        try:
            yield partial(make, sandboxes=backend)
        finally:
            backend.close()


def tasks_of(make: MakeEnvironment, split: str, count: int, seed: int) -> list[Task]:
    """The first `count` tasks of a split."""
    source: ToolEnvironment = make()
    tasks = source.make_tasks(split, count, seed)
    source.close()
    return tasks


def run(make: MakeEnvironment, policy: Policy, specs: Sequence[EpisodeSpec], keep: bool = False) -> list[Trajectory]:
    """The episodes in the order of their specs."""
    rollout = Rollout(make, policy, workers=1, live=LIVE, keep_snapshots=keep)
    ended = {each.id: each for each in rollout.run(specs)}
    return [ended[spec.id] for spec in specs]


def play(make: MakeEnvironment, split: str, count: int, seed: int, styles: Sequence[str] = STYLES) -> list[Trajectory]:
    """What scripted teachers do on `count` tasks of a split, those that succeed; the styles take turns."""
    tasks = tasks_of(make, split, count, seed)
    done: list[Trajectory] = []
    for at, style in enumerate(styles):
        share = tasks[at :: len(styles)]
        specs = [EpisodeSpec(task, derive_seed(style, seed, task.id), actor="teacher") for task in share]
        done += [each for each in run(make, ScriptedTeacher(style), specs) if each.succeeded]
    return done


def mended(make: MakeEnvironment, policy: Policy, count: int, seed: int, style: str = STYLES[0]) -> list[Trajectory]:
    """What a scripted teacher does where `policy` has failed at a training task, if it succeeds.

    It goes on right after the first call that did not go through, or after a random step if all of them did.
    """
    luck = np.random.default_rng(seed)
    tasks = tasks_of(make, "train", count, seed)
    specs = []
    for each in run(
        make, policy, [EpisodeSpec(task, derive_seed("failing", seed, task.id)) for task in tasks], keep=True
    ):
        if each.failed and len(each.steps) > 1:
            open_steps = each.steps[:-1]
            wrong = [at for at, step in enumerate(open_steps, 1) if any(o.status != "ok" for o in step.outcomes)]
            at = wrong[0] if wrong else 1 + int(luck.integers(len(open_steps)))
            specs.append(EpisodeSpec(each.task, derive_seed("mended", each.seed), actor="teacher", fork=(each, at)))
    return [each for each in run(make, ScriptedTeacher(style), specs) if each.succeeded]


def texts(traces: Sequence[Trajectory]) -> Iterator[str]:
    """Messages and calls as plain text, for the tokenizer to learn from."""
    for trace in traces:
        for message in trace.messages():
            yield message.content
            for call in message.tool_calls:
                yield f'{{"name": "{call.name}", "arguments": {json.dumps(call.arguments, ensure_ascii=False)}}}'


def untaught(tokenizer: PreTrainedTokenizerFast, size: TinyConfig, seed: int = 0) -> LocalPolicy:
    """A model of this size that knows nothing yet."""
    return LocalPolicy(make_student(tokenizer, size, seed), tokenizer, Sampling(), name="tiny-teacher")


def teach(
    teacher: LocalPolicy, traces: Sequence[Trajectory], training: TrainingConfig, seed: int = 0, told: int = 50
) -> int:
    """Train it on what the teachers did in these traces; how many of them were too long."""
    rows, refused = segments_of(traces, teacher.renderer, teacher.context)

    def tell(progress: Progress) -> None:
        if progress.step % told == 0:
            print(f"step {progress.step}: loss {progress.loss:.3f}", flush=True)

    train(teacher.model, [Pool(rows, 1.0)], training, seed, tell)
    return sum(refused.values())


def make_teacher(
    traces: Sequence[Trajectory], size: TinyConfig, training: TrainingConfig, seed: int = 0
) -> tuple[LocalPolicy, LocalPolicy, int]:
    """A teacher trained on these traces, one that is not trained at all, and how many traces were too long."""
    tokenizer = make_tokenizer(texts(traces), size)
    teacher = untaught(tokenizer, size, seed)
    return teacher, untaught(tokenizer, size, seed), teach(teacher, traces, training, seed)


def likelihood(scorer: Scorer, rows: Sequence[Segment]) -> float:
    """Mean natural log-probability of a teacher's token."""
    scores = scorer.score([ScoreRequest(row.input_ids, tuple(range(1, len(row.input_ids)))) for row in rows])
    kept = [
        logprob
        for row, each in zip(rows, scores, strict=True)
        for logprob, counts in zip(each.logprobs, row.loss_mask[1:], strict=True)
        if counts
    ]
    return sum(kept) / len(kept)


def success(policy: LocalPolicy, make: MakeEnvironment, count: int) -> float:
    """The share of held-out tasks that a policy solves by itself, taking the likeliest token each time."""
    policy = LocalPolicy(policy.model, policy.renderer.tokenizer, Sampling(temperature=0.0))
    specs = [EpisodeSpec(task, seed=at) for at, task in enumerate(tasks_of(make, "heldout", count, 1))]
    return sum(each.succeeded for each in run(make, policy, specs)) / count


def measure(
    name: str, make: MakeEnvironment, teacher: LocalPolicy, untrained: LocalPolicy, given: argparse.Namespace
) -> None:
    """Say how good it is on held-out tasks."""
    count = given.heldout
    rows, _ = segments_of(play(make, "heldout", count, given.seed, given.styles), teacher.renderer, teacher.context)
    print(
        f"{name}: {likelihood(teacher, rows):.3f} nats a token on {len(rows)} held-out traces (untrained "
        f"{likelihood(untrained, rows):.3f}), solves {success(teacher, make, count):.0%} of {count} held-out tasks",
        flush=True,
    )


def make_teacher_like(
    config: RunConfig, given: argparse.Namespace, size: TinyConfig = LIKE_SIZE, training: TrainingConfig = LIKE_TRAINING
) -> tuple[LocalPolicy, int, int]:
    """The teacher of a run's tiny students; how many traces it learnt from, and how many were too long.

    First it learns from clean traces and from what a wanderer's failures were mended with, then, round by round, from
    what its own failures are mended with as well.
    """
    with worlds(config.environment, **config.environment_options) as make:
        tokenizer = tokenizer_of(make, config.student, Quiet())
        size = size.model_copy(update={"vocabulary": config.student.vocabulary, "context": config.student.context})
        teacher, untrained = (untaught(tokenizer, size, given.seed) for _ in range(2))
        traces = play(make, "train", given.episodes, given.seed, given.styles)
        failing: Policy = Wanderer([step.completion.message for trace in traces for step in trace.steps])
        refused = 0
        for number in range(given.rounds):
            seed = derive_seed("round", given.seed, number) % 2**31
            traces += mended(make, failing, given.episodes, seed, given.styles[0])
            print(f"round {number + 1}: {len(traces)} traces", flush=True)
            rate = training.learning_rate / 2**number
            steps = given.steps // given.rounds
            refused = teach(teacher, traces, training.model_copy(update={"steps": steps, "learning_rate": rate}), seed)
            failing = teacher
        measure(config.environment, make, teacher, untrained, given)
        return teacher, len(traces), refused


def make_joint_teacher(given: argparse.Namespace) -> tuple[LocalPolicy, int, int]:
    """The teacher of several environments; how many traces it learnt from, and how many were too long."""
    learnt: list[Trajectory] = []
    for name in given.environments:
        with worlds(name) as make:
            learnt += play(make, "train", given.episodes, given.seed, given.styles)
    training = TRAINING.model_copy(update={"steps": given.steps})
    teacher, untrained, refused = make_teacher(learnt, SIZE, training, given.seed)
    for name in given.environments:
        with worlds(name) as make:
            measure(name, make, teacher, untrained, given)
    return teacher, len(learnt), refused


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """What is asked for: on the command line, if nothing is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--like", type=Path, help="a run's config: the teacher of its tiny students")
    parser.add_argument("--set", action="append", default=[], help="with --like: environment_options.gap=0.5, for one")
    parser.add_argument("--environments", nargs="+", default=ENVIRONMENTS, help="without --like")
    parser.add_argument("--styles", nargs="+", default=STYLES, help="knowing, exploring or both")
    parser.add_argument("--episodes", type=int, default=600, help="of each environment (and round), to learn from")
    parser.add_argument("--rounds", type=int, default=3, help="with --like: how often it is mended, then trained")
    parser.add_argument("--heldout", type=int, default=60, help="of each environment, to be measured on")
    parser.add_argument("--steps", type=int, default=TRAINING.steps, help="of training, over all rounds")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(given)


def main() -> None:
    """Make it, say how good it is, and save it."""
    given = arguments()
    began = time.monotonic()
    if given.like is None:
        teacher, traces, refused = make_joint_teacher(given)
    else:
        teacher, traces, refused = make_teacher_like(read_config(given.like, given.set, RunConfig), given)
    parameters = sum(each.numel() for each in teacher.model.parameters())
    facts = {"parameters": parameters, "traces": traces - refused, "steps": given.steps, "seed": given.seed}
    save_checkpoint(teacher.model, teacher.renderer.tokenizer, given.folder, facts)
    print(f"{parameters:,} parameters in {given.folder}, {refused} traces too long, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
