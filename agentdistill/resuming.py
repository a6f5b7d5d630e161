"""Episodes that the store has are taken from there, the others are run now and kept: what makes every stage resume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agentdistill.records import Trajectory
from agentdistill.rollout import EpisodeSpec, Rollout, Watcher
from agentdistill.store import EpisodeKey, RunStore


def run_stored(
    store: RunStore,
    rollout: Rollout,
    stage: str,
    arm: str,
    round_number: int,
    specs: Sequence[EpisodeSpec],
    watch: Watcher,
    count: bool = False,
    keep: bool = False,
) -> list[Trajectory]:
    """Run what the store does not have yet, saving each episode as it ends; return all, in the order of `specs`.

    Snapshots of episodes that succeeded are forgotten, as far as no other episode needs them: nobody takes over there,
    unless somebody does (`keep`). With `count`, each episode is one unit of the stage's progress.
    """
    keys = {
        spec.id: EpisodeKey(stage=stage, arm=arm, round=round_number, task_id=spec.task.id, attempt=spec.attempt)
        for spec in specs
    }
    have = store.known_keys(stage, arm, round_number)
    wanted = {str(key): spec_id for spec_id, key in keys.items()}
    found: dict[str, Trajectory] = {}
    if not have.isdisjoint(wanted):
        stored = store.trajectories(stage, arm, round_number)
        # An episode whose machinery broke is tried again: a resumed run may meet better machinery.
        # Only if it is the same episode: one that another seed or another fork made is not passed off as this one.
        found = {trace.id: trace for key, trace in stored if wanted.get(str(key)) == trace.id and not trace.errored}
        watch.advance(len(found) if count else 0)
    rollout = replace(rollout, stage=f"{stage}/{arm}/{round_number}")
    # A run may have been killed after an episode was saved and before it let go.
    rollout.release(name for name, trace in found.items() if trace.succeeded and not keep)
    for trajectory in rollout.run([spec for spec in specs if spec.id not in found]):
        store.save_trajectory(keys[trajectory.id], trajectory)
        if trajectory.succeeded and not keep:
            rollout.release([trajectory.id])
        found[trajectory.id] = trajectory
        watch.advance(1 if count else 0)
    return [found[spec.id] for spec in specs]
