"""How good is a student: success on held-out tasks, and recovery from a bank of frozen states."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from agentdistill.environment import ToolEnvironment, Truth
from agentdistill.records import Divergence, Trajectory, derive_seed, digest_of
from agentdistill.results import Rate, rate_of
from agentdistill.rollout import EpisodeSpec


def success_rate(trajectories: Iterable[Trajectory]) -> Rate:
    """The share that the hidden check passed, of all that ended without an infrastructure error."""
    judged = [trajectory.succeeded for trajectory in trajectories if not trajectory.errored]
    return rate_of(sum(judged), len(judged))


@dataclass(frozen=True)
class Bank:
    """Frozen states to climb out of: failed trajectories, each with where its first mistake is in the world.

    Attributes:
        states: trajectory and divergence of each state.
        fatal: failures whose first mistake left nothing to win.
        unseen: failures in which the truth sees no mistake before the end.
    """

    states: tuple[tuple[Trajectory, Divergence], ...]
    fatal: int
    unseen: int

    @property
    def digest(self) -> str:
        """SHA-256 over every state: task, step and world; equal banks, equal digests."""
        return digest_of(
            [
                f"{trajectory.task.content_hash} {divergence.step} {world.world_digest if world else ''}"
                for trajectory, divergence in sorted(self.states, key=lambda state: state[0].id)
                for world in [trajectory.world(divergence.step)]
            ]
        )

    def specs(self, seed: int) -> Iterator[EpisodeSpec]:
        """The episodes in which a student is put into each state."""
        for trajectory, divergence in self.states:
            yield EpisodeSpec(
                task=trajectory.task,
                seed=derive_seed("bank", seed, trajectory.id),
                fork=(trajectory, divergence.step),
                reseed=True,
            )


def freeze_bank(failures: Sequence[Trajectory], make_environment: Callable[[], ToolEnvironment]) -> Bank:
    """Every failed trajectory, frozen right after its first mistake as the environment's truth has it.

    A mistake is a step after which success is no nearer than before although the step did something: a call of it
    failed, it changed the world (the files where there is a sandbox, else the state), lost it, or ended the episode.
    Looking around is none: not opening a file, not running the tests. A state that can no longer be won within the
    steps that are left is `fatal` and stays out.
    """
    states: list[tuple[Trajectory, Divergence]] = []
    fatal = unseen = 0
    environment = make_environment()
    try:
        for trajectory in failures:
            step, truth = first_mistake(trajectory, environment)
            if step is None or truth is None:
                unseen += 1
            elif not truth.winnable(environment.step_limit - step):
                fatal += 1
            else:
                found = Divergence(trajectory_id=trajectory.id, step=step, reason="first mistake", detector="truth")
                states.append((trajectory, found))
    finally:
        environment.close()
    return Bank(tuple(states), fatal, unseen)


def first_mistake(trajectory: Trajectory, environment: ToolEnvironment) -> tuple[int | None, Truth | None]:
    """The number of the first mistaken step, and the truth of the world after it; `(None, None)` without one."""
    before = _truth_at(trajectory, 0, environment)
    for number in range(1, len(trajectory.steps) + 1):
        after = _truth_at(trajectory, number, environment)
        if before is None or after is None:
            return None, None
        nearer = after.cost is not None and (before.cost is None or after.cost < before.cost)
        acted = (
            any(outcome.status != "ok" for outcome in trajectory.steps[number - 1].outcomes)
            or _content(trajectory, number) != _content(trajectory, number - 1)
            or after.cost is None
            or number == len(trajectory.steps)
        )
        if acted and not nearer:
            return number, after
        before = after
    return None, None


def _truth_at(trajectory: Trajectory, step: int, environment: ToolEnvironment) -> Truth | None:
    world = trajectory.world(step)
    if world is None:
        return None
    environment.restore(world, task=trajectory.task)
    return environment.truth()


def _content(trajectory: Trajectory, step: int) -> str:
    """What there is to change: beside a sandbox the state only says where one looks, such as which file is open."""
    world = trajectory.world(step)
    return (world.sandbox or world.world_digest) if world else ""
