"""A learned teacher of one to two million parameters, made in minutes: `python examples/tiny_teacher.py FOLDER`.

It is trained on what the scripted teachers of both ready environments say on training tasks (exploring ones, which know
no more than it does, unless told otherwise), and saved so that the Auto classes load it: a policy, and a scorer where
log-probabilities are wanted. What it says of traces on held-out tasks is printed beside what an untrained one says.
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

from agentdistill.environment import ToolEnvironment
from agentdistill.loading import load_environment
from agentdistill.policies.base import Scorer, ScoreRequest
from agentdistill.policies.local import LocalPolicy, Sampling
from agentdistill.policies.scripted import ScriptedTeacher
from agentdistill.policies.tiny import TinyConfig, make_student, make_tokenizer
from agentdistill.records import Segment, Trajectory, derive_seed
from agentdistill.rollout import EpisodeSpec, MakeEnvironment, Rollout
from agentdistill.sandbox.loading import BackendSpec
from agentdistill.segments import segments_of
from agentdistill.training import Pool, Progress, TrainingConfig, save_checkpoint, train

ENVIRONMENTS = ("depot", "repair")
STYLES = ("exploring",)
LIVE = 64  # episodes at once
SIZE = TinyConfig(vocabulary=1500, hidden=256, layers=2, heads=2, context=640)
TRAINING = TrainingConfig(steps=1200, tokens_per_step=300, learning_rate=5e-3, weight_decay=0.3)


@contextmanager
def worlds(name: str) -> Iterator[MakeEnvironment]:
    """Makes environments of this name; with sandboxes, if they use any."""
    make = load_environment(name)
    if not make().uses_sandbox:
        yield make
        return
    with tempfile.TemporaryDirectory() as folder:
        backend = BackendSpec("bubblewrap", {}).make(Path(folder))
        try:
            yield partial(make, sandboxes=backend)
        finally:
            backend.close()


def play(make: MakeEnvironment, split: str, count: int, seed: int, styles: Sequence[str] = STYLES) -> list[Trajectory]:
    """What scripted teachers do on `count` tasks of a split, those that succeed; the styles take turns."""
    source: ToolEnvironment = make()
    tasks = source.make_tasks(split, count, seed)
    source.close()
    done: list[Trajectory] = []
    for at, style in enumerate(styles):
        share = tasks[at :: len(styles)]
        specs = [EpisodeSpec(task, derive_seed(style, seed, task.id), actor="teacher") for task in share]
        ended = {
            each.id: each for each in Rollout(make, ScriptedTeacher(style), live=LIVE, keep_snapshots=False).run(specs)
        }
        done += [ended[spec.id] for spec in specs if ended[spec.id].succeeded]
    return done


def texts(traces: Sequence[Trajectory]) -> Iterator[str]:
    """Messages and calls as plain text, for the tokenizer to learn from."""
    for trace in traces:
        for message in trace.messages():
            yield message.content
            for call in message.tool_calls:
                yield f'{{"name": "{call.name}", "arguments": {json.dumps(call.arguments, ensure_ascii=False)}}}'


def make_teacher(
    traces: Sequence[Trajectory], size: TinyConfig, training: TrainingConfig, seed: int = 0, told: int = 50
) -> tuple[LocalPolicy, LocalPolicy, int]:
    """A teacher trained on these traces, one that is not trained at all, and how many traces were too long."""
    tokenizer = make_tokenizer(texts(traces), size)
    untrained = LocalPolicy(make_student(tokenizer, size, seed), tokenizer, name="untrained")
    teacher = LocalPolicy(make_student(tokenizer, size, seed), tokenizer, name="tiny-teacher")
    rows, refused = segments_of(traces, teacher.renderer, size.context)

    def tell(progress: Progress) -> None:
        if progress.step % told == 0:
            print(f"step {progress.step}: loss {progress.loss:.3f}", flush=True)

    train(teacher.model, [Pool(rows, 1.0)], training, seed, tell)
    return teacher, untrained, sum(refused.values())


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
    source = make()
    specs = [EpisodeSpec(task, seed=at) for at, task in enumerate(source.make_tasks("heldout", count, 1))]
    source.close()
    return sum(each.succeeded for each in Rollout(make, policy, live=LIVE, keep_snapshots=False).run(specs)) / count


def main() -> None:
    """Make it, say how good it is, and save it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--environments", nargs="+", default=ENVIRONMENTS)
    parser.add_argument("--styles", nargs="+", default=STYLES, help="knowing, exploring or both")
    parser.add_argument("--episodes", type=int, default=600, help="of each environment, to learn from")
    parser.add_argument("--heldout", type=int, default=60, help="of each environment, to be measured on")
    parser.add_argument("--steps", type=int, default=TRAINING.steps)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began = time.monotonic()
    learnt: list[Trajectory] = []
    held: dict[str, list[Trajectory]] = {}
    for name in given.environments:
        with worlds(name) as make:
            learnt += play(make, "train", given.episodes, given.seed, given.styles)
            held[name] = play(make, "heldout", given.heldout, given.seed, given.styles)
    print(f"{len(learnt)} traces after {time.monotonic() - began:.0f} s", flush=True)
    training = TRAINING.model_copy(update={"steps": given.steps})
    teacher, untrained, refused = make_teacher(learnt, SIZE, training, given.seed)
    parameters = sum(each.numel() for each in teacher.model.parameters())
    for name, traces in held.items():
        rows, _ = segments_of(traces, teacher.renderer, SIZE.context)
        with worlds(name) as make:
            solved = success(teacher, make, given.heldout)
        print(
            f"{name}: {likelihood(teacher, rows):.3f} nats a token on {len(rows)} held-out traces (untrained "
            f"{likelihood(untrained, rows):.3f}), solves {solved:.0%} of {given.heldout} held-out tasks"
        )
    facts = {"parameters": parameters, "traces": len(learnt) - refused, "steps": given.steps, "seed": given.seed}
    save_checkpoint(teacher.model, teacher.renderer.tokenizer, given.folder, facts)
    print(f"{parameters:,} parameters in {given.folder}, {refused} traces too long, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
