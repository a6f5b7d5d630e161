"""Buying from the teacher within a budget: clean traces, and recoveries of the student's own failures.

Everything the teacher says is charged, whether or not its trace is verified. Work goes in chunks whose size follows
what a trace has cost so far, so that a budget is met closely; every episode is in the store before the next chunk, and
a resumed run takes what is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from agentdistill.chat import Renderer
from agentdistill.chat.counting import tokens_read
from agentdistill.divergence import Detector
from agentdistill.records import Actor, Divergence, Recovery, Task, Trajectory, derive_seed
from agentdistill.rollout import EpisodeSpec, Rollout, Watcher
from agentdistill.store import EpisodeKey, LedgerEntry, RunStore
from agentdistill.takeover import take_over

CHUNK = 128
FIRST = 4
CAUTION = 0.8
"""Share of what seems to be affordable that the next chunk buys: traces may cost more than those before them did, and
arms are compared at equal tokens."""


@dataclass
class Collected:
    """What a budget bought: verified traces, everything charged, and why the rest was not taken."""

    traces: list[Trajectory] = field(default_factory=list)
    teacher_tokens: int = 0
    student_tokens: int = 0
    episodes: int = 0
    refused: Counter[str] = field(default_factory=Counter)


@dataclass
class Collector:
    """Collects for one arm and round of a run.

    Attributes:
        store: where every episode and every charge is written.
        renderer: of the student's tokenizer, in whose tokens the teacher is charged.
        tasks: the tasks ``first .. first + count - 1`` of the training stream.
        seed: decides all luck of this arm and round.
    """

    store: RunStore
    renderer: Renderer
    tasks: Callable[[int, int], Sequence[Task]]
    watch: Watcher
    arm: str
    round: int
    seed: int
    _recovered: dict[str, Recovery] = field(default_factory=dict, init=False)

    def clean(self, teacher: Rollout, budget: int) -> Collected:
        """Traces of the teacher from the tasks' start, until `budget` output tokens are spent.

        Stops short of the budget where a whole chunk cost nothing: a teacher that says nothing would be asked for ever.
        """
        got = Collected()
        spent = -1
        while spent < got.teacher_tokens < budget:
            spent = got.teacher_tokens
            tasks = self.tasks(got.episodes, _chunk(budget, got.teacher_tokens, got.episodes))
            for trace in self._run(teacher, "clean", self._specs(tasks, "teacher")):
                self._charge(got, trace, "clean", teacher.policy.name)
            got.episodes += len(tasks)
        return got

    def recoveries(
        self, student: Rollout, teacher: Rollout, detector: Detector, budget: int, most_episodes: int
    ) -> Collected:
        """The student acts; where it fails and a divergence is found, the teacher takes over, until `budget` is spent.

        Stops short of the budget after `most_episodes` student episodes, if the student fails too seldom, and where a
        whole chunk of takeovers cost nothing.
        """
        got = Collected()
        taken, spent = 0, -1
        failures: list[tuple[Trajectory, Divergence]] = []
        while spent < got.teacher_tokens < budget:
            spent = got.teacher_tokens
            want = _chunk(budget, got.teacher_tokens, taken)
            while len(failures) < want and got.episodes < most_episodes:
                tasks = self.tasks(got.episodes, CHUNK)
                for trace in self._run(student, "rollout", self._specs(tasks, "student")):
                    got.student_tokens += trace.tokens("student")
                    if trace.failed:
                        divergence = detector(trace, None)  # type: ignore[arg-type]
                        if divergence is None:
                            got.refused["no divergence found"] += 1
                        else:
                            failures.append((trace, divergence))
                    elif trace.errored:
                        got.refused["infrastructure error"] += 1
                got.episodes += len(tasks)
            if not failures:
                break
            now, failures = failures[:want], failures[want:]
            for recovery in self._take_over(teacher, now):
                self._charge(got, recovery.trajectory, "takeover", teacher.policy.name)
            taken += len(now)
        return got

    def _specs(self, tasks: Sequence[Task], actor: Actor) -> list[EpisodeSpec]:
        return [EpisodeSpec(task=task, seed=derive_seed("episode", self.seed, task.id), actor=actor) for task in tasks]

    def _run(self, rollout: Rollout, stage: str, specs: Sequence[EpisodeSpec]) -> list[Trajectory]:
        """The episodes' trajectories in the order of `specs`: from the store where it has them, else run now."""
        return run_stored(self.store, rollout, stage, self.arm, self.round, specs, self.watch)

    def _take_over(self, teacher: Rollout, failures: Sequence[tuple[Trajectory, Divergence]]) -> list[Recovery]:
        """The takeovers of these failures, in order: from the store where it has them, else run now."""
        if not self._recovered:
            stored = self.store.recoveries("takeover", self.arm, self.round)
            self._recovered = {recovery.divergence.trajectory_id: recovery for _, recovery in stored}
        missing = [(trace, found) for trace, found in failures if trace.id not in self._recovered]
        for recovery in take_over(teacher, missing):
            task_id = recovery.trajectory.task.id
            key = EpisodeKey(stage="takeover", arm=self.arm, round=self.round, task_id=task_id)
            self.store.save_recovery(key, recovery)
            self._recovered[recovery.divergence.trajectory_id] = recovery
        return [self._recovered[trace.id] for trace, _ in failures]

    def _charge(self, got: Collected, trace: Trajectory, purpose: str, policy: str) -> None:
        tokens = trace.tokens("teacher")
        self.watch.advance(tokens)
        got.teacher_tokens += tokens
        self.store.ledger_add(
            LedgerEntry(
                arm=self.arm,
                round=self.round,
                stage=purpose,
                policy=policy,
                purpose=purpose,
                input_tokens=tokens_read(trace, self.renderer),
                output_tokens=tokens,
                accepted=trace.succeeded,
                key=f"{purpose}/{self.arm}/{self.round}/{trace.id}",
            )
        )
        if trace.succeeded:
            got.traces.append(trace)
        else:
            got.refused["infrastructure error" if trace.errored else "not verified"] += 1


def run_stored(
    store: RunStore,
    rollout: Rollout,
    stage: str,
    arm: str,
    round_number: int,
    specs: Sequence[EpisodeSpec],
    watch: Watcher,
    count: bool = False,
) -> list[Trajectory]:
    """Run what the store does not have yet, saving each episode as it ends; return all, in the order of `specs`.

    Snapshots of episodes that succeeded are forgotten, as far as no other episode needs them: nobody takes over there.
    With `count`, each episode is one unit of the stage's progress.
    """
    keys = {spec.id: EpisodeKey(stage=stage, arm=arm, round=round_number, task_id=spec.task.id) for spec in specs}
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
    rollout.release(name for name, trace in found.items() if trace.succeeded)
    for trajectory in rollout.run([spec for spec in specs if spec.id not in found]):
        store.save_trajectory(keys[trajectory.id], trajectory)
        if trajectory.succeeded:
            rollout.release([trajectory.id])
        found[trajectory.id] = trajectory
        watch.advance(1 if count else 0)
    return [found[spec.id] for spec in specs]


def _chunk(budget: int, spent: int, bought: int) -> int:
    """How many traces to buy next, going by what one has cost so far; one at a time as the budget runs out."""
    if not bought or not spent:
        return FIRST
    return max(1, min(CHUNK, int(CAUTION * (budget - spent) / (spent / bought))))
