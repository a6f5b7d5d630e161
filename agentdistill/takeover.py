"""Restore the world and the conversation exactly where the student diverged, and let a teacher take over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from agentdistill.records import Divergence, Recovery, Trajectory, derive_seed
from agentdistill.rollout import EpisodeSpec, Rollout


def take_over(rollout: Rollout, failures: Iterable[tuple[Trajectory, Divergence]]) -> Iterator[Recovery]:
    """Let the policy of `rollout` go on from each divergence to the end of the episode.

    The mess stays: the world is the one after the student's mistake, and the steps left are those the student had
    left. The teacher meets exactly the luck the student would have met. Whether it climbed out is the verdict of the
    hidden check. Recoveries come as they end; an errored one is yielded too and is neither verified nor a failure.
    """
    found: dict[str, Divergence] = {}
    specs: list[EpisodeSpec] = []
    for trajectory, divergence in failures:
        spec = EpisodeSpec(
            task=trajectory.task,
            seed=derive_seed("takeover", trajectory.seed, divergence.step),
            actor="teacher",
            fork=(trajectory, divergence.step),
        )
        found[spec.id] = divergence
        specs.append(spec)
    for climbed in replace(rollout, keep_snapshots=False).run(specs):
        yield Recovery(divergence=found[climbed.id], trajectory=climbed, teacher_tokens=climbed.tokens("teacher"))
