"""Episodes: one is a small state machine; many run at once.

The model is called in batches over all conversations that wait for a turn; the worlds move in a thread pool. While
the model thinks about one half, the sandboxes of the other half run. A policy that lets conversations join (`Joinable`)
takes each as soon as its world has answered.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import JsonValue

from agentdistill.environment import ToolEnvironment
from agentdistill.errors import PolicyError, UsageError
from agentdistill.policies import Joinable, Policy, Request
from agentdistill.records import (
    Actor,
    Completion,
    Ending,
    Fork,
    Message,
    Snapshot,
    Step,
    Task,
    ToolOutcome,
    Trajectory,
    Verdict,
    derive_seed,
    digest_of,
)

MakeEnvironment = Callable[[], ToolEnvironment]


class Watcher(Protocol):
    """Who is told how far a stage is."""

    def begin(self, stage: str, total: int | None = None) -> None:
        """A stage begins; `total` counts what `advance` will be called with."""
        ...

    def advance(self, amount: int = 1, note: str = "") -> None:
        """So much more is done."""
        ...

    def end(self, note: str = "") -> None:
        """The stage is done."""
        ...


@dataclass(frozen=True)
class Regained:
    """When progress counts as regained: the environment's `progress()` lies above `above`; or, where that is `None`
    since the environment has no such measure, a call of one of `tools` has gone through.
    """

    above: float | None = None
    tools: tuple[str, ...] = ()

    def reached(self, environment: ToolEnvironment, outcomes: Sequence[ToolOutcome]) -> bool:
        """Whether it is, after a step with these outcomes."""
        if self.above is not None:
            now = environment.progress()
            return now is not None and now > self.above
        return any(outcome.status == "ok" and outcome.tool in self.tools for outcome in outcomes)


@dataclass(frozen=True)
class EpisodeSpec:
    """What to run: a task from its start, or from a stored step of another trajectory.

    Attributes:
        task: what to do.
        seed: decides the world's luck and all sampling of this episode.
        actor: who acts, for the records and the mask.
        fork: a trajectory whose steps are kept as a prefix, and after how many of them to go on.
        reseed: whether a forked episode meets fresh luck (True) or exactly the luck it had.
        most_steps: pause the episode after so many steps of its own, if it has not ended by then.
        most_tokens: pause it after the step with which so many output tokens of its own are spent.
        until: pause it after the step with which this is reached.
        note: what only the policy is told, at each of its turns.
        attempt: tells several tries at one task apart in the store; their seeds differ too.
    """

    task: Task
    seed: int
    actor: Actor = "student"
    fork: tuple[Trajectory, int] | None = None
    reseed: bool = False
    most_steps: int | None = None
    most_tokens: int | None = None
    until: Regained | None = None
    note: str = ""
    attempt: int = 0

    @property
    def id(self) -> str:
        """Names the episode by all that decides it."""
        luck = " fresh" if self.reseed else ""
        parent = f"{self.fork[0].id}@{self.fork[1]}{luck}" if self.fork else ""
        decided: list[JsonValue] = [self.task.id, self.task.content_hash, self.seed, self.actor, parent]
        if self.most_steps is not None or self.note:
            decided += [self.most_steps, self.note]
        if self.most_tokens is not None or self.until is not None:
            until: JsonValue = [self.until.above, *self.until.tools] if self.until else None
            decided += [self.most_tokens, until]
        return digest_of(decided)[:20]


class Episode:
    """One episode as a state machine: `next_request` asks, `feed` answers, `trajectory` is what remains."""

    def __init__(
        self, spec: EpisodeSpec, environment: ToolEnvironment, policy: str, keep_snapshots: bool, owner: str = ""
    ) -> None:
        self.spec = spec
        self.environment = environment
        self.policy = policy
        self.keep_snapshots = keep_snapshots
        self.owner = owner
        self.opening: tuple[Message, ...] = ()
        self.start: Snapshot | None = None
        self.steps: list[Step] = []
        self.messages: list[Message] = []
        self.context_ids: list[int] = []
        self.covered = 0
        self.ending: Ending | None = None
        self.verdict: Verdict | None = None
        self.error = ""

    def begin(self) -> None:
        """Reset the world to the task, or restore it to where the fork leaves.

        Raises:
            InfrastructureError: the world could not be made or restored.
        """
        fork = self.spec.fork
        if fork is None:
            self.opening, _ = self.environment.reset(seed=self.spec.seed, options={"task": self.spec.task})
            self.start = self.environment.snapshot(self.owner) if self.keep_snapshots else None
            self.messages = list(self.opening)
            return
        trajectory, step = fork
        world = trajectory.world(step)
        if world is None:
            raise PolicyError(f"trajectory {trajectory.id} kept no snapshot after step {step}")
        reseed = derive_seed("luck", self.spec.seed) if self.spec.reseed else None
        self.environment.restore(world, task=self.spec.task, reseed=reseed)
        self.opening, self.start = trajectory.opening, trajectory.start
        self.steps = list(trajectory.steps[:step])
        self.messages = list(trajectory.messages(step))
        for index, kept in enumerate(self.steps):
            self._remember(kept.completion, len(trajectory.messages(index)))

    def next_request(self) -> Request | None:
        """What the policy is asked next; `None` once the episode is over."""
        if self.ending is not None:
            return None
        return Request(
            messages=tuple(self.messages),
            tools=self.environment.tools,
            context_ids=tuple(self.context_ids),
            covered=self.covered,
            seed=derive_seed("sample", self.spec.seed, len(self.steps)),
            note=self.spec.note,
            world=self.environment,
        )

    def feed(self, completion: Completion) -> None:
        """Let the world answer a completion.

        Raises:
            InfrastructureError: the world broke; the episode is void.
        """
        if completion.finish == "context":
            self._finish("context_limit", self.environment.verify())
            return
        observations, reward, terminated, truncated, info = self.environment.step(completion.message)
        snapshot = self.environment.snapshot(self.owner) if self.keep_snapshots else None
        self.steps.append(
            Step(
                actor=completion.by or self.spec.actor,
                completion=completion,
                observations=observations,
                outcomes=info["outcomes"],
                signals=info["signals"],
                reward=float(reward),
                snapshot=snapshot,
            )
        )
        self._remember(completion, len(self.messages))
        self.messages += [completion.message, *observations]
        if terminated or truncated:
            self._finish("submitted" if terminated else "step_limit", info["verdict"])
        elif self._enough():
            self._finish("paused", None)

    def fail(self, error: Exception) -> None:
        """The machinery broke: keep what there is, without a verdict."""
        self.error = f"{type(error).__name__}: {error}"
        self.verdict = None
        self.ending = "infrastructure_error"

    def trajectory(self) -> Trajectory:
        """The episode as a record, once it has ended."""
        assert self.ending is not None, "the episode is still running"
        fork = self.spec.fork
        return Trajectory(
            id=self.spec.id,
            task=self.spec.task,
            policy=self.policy,
            seed=self.spec.seed,
            opening=self.opening,
            tools=self.environment.tools,
            start=self.start,
            steps=tuple(self.steps),
            ending=self.ending,
            verdict=self.verdict,
            error=self.error,
            parent=Fork(trajectory_id=fork[0].id, step=fork[1]) if fork else None,
        )

    @property
    def _kept(self) -> int:
        """Steps that were there before this episode began."""
        return self.spec.fork[1] if self.spec.fork else 0

    def _enough(self) -> bool:
        """Whether the episode is to be paused here."""
        own, spec = self.steps[self._kept :], self.spec
        if spec.most_steps is not None and len(own) >= spec.most_steps:
            return True
        if spec.most_tokens is not None and sum(s.completion.output_tokens for s in own) >= spec.most_tokens:
            return True
        return spec.until is not None and spec.until.reached(self.environment, own[-1].outcomes)

    def _finish(self, ending: Ending, verdict: Verdict | None) -> None:
        self.ending, self.verdict = ending, verdict

    def _remember(self, completion: Completion, said_before: int) -> None:
        """Seal the ids of a turn: all that its model was fed, turns of others in between included, and what it said."""
        if not completion.token_ids:
            return
        if completion.fresh:  # rendered anew: nothing that was sealed before counts
            self.context_ids = []
        self.context_ids += [*completion.context_ids, *completion.token_ids]
        self.covered = said_before + 1


@dataclass
class Rollout:
    """Runs many episodes at once.

    Attributes:
        make_environment: makes one bare environment; at most `live` exist at a time, and they are used again.
        policy: who acts.
        workers: threads in which worlds move; sandboxed environments want as many as there are cores.
        live: most episodes in flight.
        retries: how often an episode whose machinery broke is started again.
        keep_snapshots: whether the world is kept after every step. A takeover needs it; an evaluation does not.
        stage: what the episodes belong to. Where it is given, each episode owns its snapshots until `release`.
    """

    make_environment: MakeEnvironment
    policy: Policy
    workers: int = field(default_factory=lambda: max(1, os.cpu_count() or 1))
    live: int = 256
    retries: int = 1
    keep_snapshots: bool = True
    stage: str = ""

    def release(self, episodes: Iterable[str]) -> None:
        """Forget the snapshots of these episodes of the stage, but for those that others own too."""
        if not (self.stage and self.keep_snapshots):
            return
        environment = self.make_environment()
        for episode in episodes:
            environment.release(self._owner(episode))
        environment.close()

    def run(self, specs: Iterable[EpisodeSpec]) -> Iterator[Trajectory]:
        """Yield each trajectory as its episode ends. Errored ones come too, marked as such."""
        waiting = deque((spec, 0) for spec in specs)
        idle: list[ToolEnvironment] = []
        everyone: list[ToolEnvironment] = []
        ready: list[tuple[Episode, int]] = []
        moving: dict[Future[None], tuple[Episode, int]] = {}
        asking = _Asking(self.policy)
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="world")

        def move(episode: Episode, tries: int, act: Callable[..., None], *arguments: Any) -> None:
            moving[pool.submit(act, *arguments)] = (episode, tries)

        try:
            while waiting or ready or moving or asking.open:
                while waiting and len(ready) + len(moving) + len(asking.open) < self.live:
                    spec, tries = waiting.popleft()
                    if not idle:
                        everyone.append(self.make_environment())
                        idle.append(everyone[-1])
                    episode = Episode(spec, idle.pop(), self.policy.name, self.keep_snapshots, self._owner(spec.id))
                    move(episode, tries, episode.begin)
                # The model waits until half of all conversations want a turn, so that neither side idles for long.
                while moving:
                    enough = len(ready) + len(asking.open) >= len(moving)
                    done, _ = wait(moving, timeout=0 if enough else None, return_when=FIRST_COMPLETED)
                    if not done:
                        break
                    for future in done:
                        episode, tries = moving.pop(future)
                        if (error := future.exception()) is not None:
                            # A crash of the environment is the machinery's failure too, never the policy's.
                            if isinstance(error, UsageError) or not isinstance(error, Exception):
                                raise error
                            episode.fail(error)
                        if episode.ending is None:
                            ready.append((episode, tries))
                            continue
                        if episode.ending == "infrastructure_error":
                            everyone.remove(episode.environment)
                            episode.environment.close()
                            if tries < self.retries:
                                waiting.append((episode.spec, tries + 1))
                                continue
                        else:
                            idle.append(episode.environment)
                        yield episode.trajectory()
                for (episode, tries), completion in asking.answers(ready):
                    if isinstance(completion, Completion):
                        move(episode, tries, episode.feed, completion)
                    else:
                        move(episode, tries, _raise, completion)
                ready = []
        finally:
            asking.close()
            pool.shutdown(wait=True, cancel_futures=True)
            for environment in everyone:
                environment.close()

    def _owner(self, episode: str) -> str:
        return f"{self.stage}/{episode}" if self.stage else ""


class _Asking:
    """Asks a policy: all at once, or each as it comes where the policy takes them so."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.open: dict[int, tuple[Episode, int]] = {}

    def answers(
        self, acting: list[tuple[Episode, int]]
    ) -> Sequence[tuple[tuple[Episode, int], Completion | PolicyError]]:
        """Ask for these too; what is answered by now."""
        requests = [request for episode, _ in acting if (request := episode.next_request()) is not None]
        try:
            if not isinstance(self.policy, Joinable):
                return list(zip(acting, self.policy.act(requests), strict=True)) if acting else []
            self.open.update(zip(self.policy.submit(requests), acting, strict=True))
            return [(self.open.pop(ticket), said) for ticket, said in self.policy.advance() if ticket in self.open]
        except PolicyError as error:
            asked = [*acting, *(each for each in self.open.values() if each not in acting)]
            self.open.clear()
            return [(each, error) for each in asked]

    def close(self) -> None:
        """Want no more answers."""
        if self.open and isinstance(self.policy, Joinable):
            self.policy.cancel(list(self.open))


def _raise(error: Exception) -> None:
    raise error
