"""What every way of collecting shares: tasks, episodes and findings that are kept, and a budget that is met closely.

Everything the teacher says or scores is charged, whether or not its trace is verified. Work goes in chunks whose size
follows what a trace has cost so far; every episode is in the store before the next chunk, and a resumed run takes what
is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from agentdistill.bought import Bought
from agentdistill.chat import Renderer
from agentdistill.chat.counting import tokens_read, tokens_told
from agentdistill.curriculum import Curriculum, at, draw_tasks
from agentdistill.divergence import Detector
from agentdistill.probing import Finding, Laboratory, find_all, probe_all
from agentdistill.records import (
    Actor,
    Cost,
    Divergence,
    Recovery,
    Task,
    Trajectory,
    derive_seed,
)
from agentdistill.resuming import run_stored
from agentdistill.rollout import EpisodeSpec, Rollout, Watcher
from agentdistill.store import EpisodeKey, LedgerEntry, RunStore
from agentdistill.takeover import Takeover
from agentdistill.teaching import own_labels, rewrite, step_scores

CHUNK = 128
FIRST = 4
CAUTION = 0.8
"""Share of what seems to be affordable that the next chunk buys: traces may cost more than those before them did, and
arms are compared at equal tokens."""


@dataclass
class Collector:
    """Collects for one arm and round of a run; what it comes to is in `bought`.

    Attributes:
        store: where every episode, finding and charge is written.
        renderer: of the student's tokenizer, in whose tokens a scripted teacher is charged; without one, what a teacher
            read is what its answers say.
        tasks: the tasks ``first .. first + count - 1`` of the training stream.
        curriculum: which of them, and how much of an episode the student is given.
        seed: decides all luck of this arm and round.
        budget: teacher tokens.
        history: by a task's content hash, how its runs ended so far, oldest first.
        solved: the student's runs that succeeded.
        most_episodes: of the student, in case it fails too seldom to spend the budget.
        reading: whether what the teacher reads is of the budget too, as it is of a bill.
        at_once: most runs of the student before it is looked where they diverged.
        first: traces that are bought before it is known what one costs.
    """

    store: RunStore
    renderer: Renderer | None
    tasks: Callable[[int, int], Sequence[Task]]
    watch: Watcher
    arm: str
    round: int
    seed: int
    budget: int
    most_episodes: int
    reading: bool = False
    at_once: int = CHUNK
    first: int = FIRST
    curriculum: Curriculum = field(default_factory=Curriculum)
    history: dict[str, list[bool]] = field(default_factory=dict)
    bought: Bought = field(default_factory=Bought)
    solved: list[Trajectory] = field(default_factory=list)
    _items: int = field(default=0, init=False)
    _spent: int = field(default=0, init=False)
    _waiting: list[Trajectory] = field(default_factory=list, init=False)
    _recovered: dict[str, Recovery] | None = field(default=None, init=False)
    _keys: dict[str, EpisodeKey] = field(default_factory=dict, init=False)

    @property
    def success(self) -> dict[str, float]:
        """The student's success rate on each task it has tried, by the task's content hash."""
        return {task: sum(ended) / len(ended) for task, ended in self.history.items()}

    @property
    def spent(self) -> int:
        """Tokens of the budget so far."""
        return self._spent

    def chunks(self) -> Iterator[int]:
        """How many items to buy next, until the budget is spent.

        Ends short of it where a whole chunk cost nothing: a teacher that says nothing would be asked for ever. Not so
        where tasks are taken in turn, since these come to an end.
        """
        spent = -1
        while spent < self._spent < self.budget or (self.curriculum.tasks == "in_turn" and self._spent < self.budget):
            spent = self._spent
            want = _chunk(self.budget, spent, self._items) if self._items and spent else self.first
            yield want
            self._items += want

    def demonstrations(self, teacher: Rollout, count: int) -> list[Trajectory]:
        """The teacher's traces of the next `count` tasks, charged."""
        specs = self._specs(self._next_tasks(count), "teacher")
        traces = self.run(teacher, "clean", specs)
        self.charge("clean", [(teacher.policy.name, trace.id, self._cost(trace), trace.succeeded) for trace in traces])
        return traces

    def attempts(self, student: Rollout, count: int, *, keep: bool = False) -> list[Trajectory]:
        """The student's runs of the next `count` tasks. Where a teacher takes turns in them, these are charged.

        Empty once the student has had all its episodes. With `keep`, those that succeed can be taken over as well.
        """
        count = min(count, self.most_episodes - self.bought.episodes)
        if count <= 0:
            return []
        depth = self.curriculum.depth
        most_steps = int(at(depth, self.round)) if depth else None
        traces = self.run(student, "rollout", self._specs(self._next_tasks(count), "student", most_steps), keep=keep)
        for trace in traces:
            self.bought.student_tokens += trace.tokens("student")
            if trace.errored:  # says nothing about the student
                self.bought.refused["infrastructure error"] += 1
                continue
            self.history.setdefault(trace.task.content_hash, []).append(trace.succeeded)
            if trace.succeeded:
                self.solved.append(trace)
        taught = [trace for trace in traces if trace.tokens("teacher")]
        self.charge("rollout", [(student.policy.name, trace.id, self._cost(trace), None) for trace in taught])
        return [trace for trace in traces if not trace.errored]

    def diverged(
        self,
        student: Rollout,
        detector: Detector,
        laboratory: Laboratory,
        want: int,
        *,
        everything: bool = False,
        before: bool = False,
        worth: Callable[[Sequence[Trajectory]], Sequence[Trajectory]] | None = None,
    ) -> list[tuple[Trajectory, Divergence]]:
        """The next `want` runs in which a divergence is found; fewer at the end. What is tried and asked is charged.

        Args:
            student: who runs, as long as there are not enough.
            detector: finds the divergence.
            laboratory: what it may try out.
            want: how many.
            everything: whether runs that succeed are looked at too.
            before: whether it is gone on from before the mistake: then it may be the last step of a run.
            worth: which of the failures of a chunk are looked at; by default all.
        """
        found: list[tuple[Trajectory, Divergence]] = []
        while len(found) < want:
            if not self._waiting:
                traces = self.attempts(student, self.at_once, keep=everything)
                if not traces:
                    break
                failures = [trace for trace in traces if everything or trace.failed]
                self._waiting = list(failures if worth is None else worth(failures))
                if left := len(failures) - len(self._waiting):
                    self.bought.refused["not worth its cost"] += left
            missing = want - len(found)
            now, self._waiting = self._waiting[:missing], self._waiting[missing:]
            findings = self._find(detector, laboratory, now)
            self.charge_findings(laboratory.teacher.policy.name, now, findings)
            for trace, finding in zip(now, findings, strict=True):
                place = finding.divergence
                if place is None:
                    self.bought.refused["infrastructure error" if finding.problem else "no divergence found"] += 1
                elif place.step >= len(trace.steps) and not before:
                    self.bought.refused["it was over with the mistake"] += 1
                else:
                    found.append((trace, place))
        return found

    def recoveries(self, takeover: Takeover, states: Sequence[tuple[Trajectory, Divergence]]) -> list[Recovery]:
        """The takeovers of these states, in order and charged: from the store where it has them, else made now."""
        if self._recovered is None:
            stored = list(self.store.recoveries("takeover", self.arm, self.round))
            self._keys = {recovery.divergence.trajectory_id: key for key, recovery in stored}
            # One whose machinery broke is tried again, under its key: a resumed run may meet better machinery.
            self._recovered = {
                recovery.divergence.trajectory_id: recovery for _, recovery in stored if not recovery.trajectory.errored
            }
        missing = [(trace, found) for trace, found in states if trace.id not in self._recovered]
        for recovery in takeover.run(missing):
            failure = recovery.divergence.trajectory_id
            if failure not in self._keys:
                task_id = recovery.trajectory.task.id
                again = sum(key.task_id == task_id for key in self._keys.values())
                key = EpisodeKey(stage="takeover", arm=self.arm, round=self.round, task_id=task_id, attempt=again)
                self._keys[failure] = key
            self.store.save_recovery(self._keys[failure], recovery)
            self._recovered[failure] = recovery
        recoveries = [self._recovered[trace.id] for trace, _ in states]
        self.bought.student_tokens += sum(recovery.student_tokens for recovery in recoveries)
        self.charge(
            "takeover",
            [(r.trajectory.policy, r.trajectory.id, self._cost_of_recovery(r), r.verified) for r in recoveries],
        )
        return recoveries

    def labels(self, teacher: Rollout, traces: Sequence[Trajectory]) -> list[Trajectory]:
        """What the teacher would do, or has done, in each state of these runs: kept, and what it says now charged."""
        kept = {label.id: label for _, label in self.store.trajectories("label", self.arm, self.round)}
        done = {label.parent.trajectory_id for label in kept.values() if label.parent}
        asked = [trace for trace in traces if trace.id not in done]
        said = list(rewrite(asked, teacher))
        first = len(kept)
        keys = (
            EpisodeKey(stage="label", arm=self.arm, round=self.round, task_id=label.task.id, attempt=first + number)
            for number, label in enumerate(said)
        )
        self.store.save_trajectories(zip(keys, said, strict=True))
        kept |= {label.id: label for label in said}
        of: dict[str, list[Trajectory]] = {}
        for label in kept.values():
            assert label.parent is not None
            of.setdefault(label.parent.trajectory_id, []).append(label)
        labels = [label for trace in traces for label in of.get(trace.id, ())]
        self.charge("label", [(label.policy, label.id, self._cost(label), True) for label in labels])
        return labels + [label for trace in traces for label in own_labels(trace)]

    def judged_steps(self, laboratory: Laboratory, traces: Sequence[Trajectory]) -> list[Trajectory]:
        """The runs, with every turn marked that the teacher would not have taken; its proposals are charged."""
        place = f"steps/{self.arm}/{self.round}"
        kept = cast("dict[str, Any]", self.store.result(place) or {})
        missing = [trace for trace in traces if trace.id not in kept]
        if missing:
            judged = probe_all(step_scores, missing, laboratory)
            for trace, (scores, cost, problem) in zip(missing, judged, strict=True):
                if problem:  # not kept: a resumed run may meet better machinery
                    self.bought.refused["infrastructure error"] += 1
                else:
                    kept[trace.id] = [scores, cost.model_dump(mode="json")]
            self.store.put_result(place, kept)
        name = laboratory.teacher.policy.name
        whole = [trace for trace in traces if trace.id in kept]
        self.charge("score", [(name, trace.id, Cost.model_validate(kept[trace.id][1]), None) for trace in whole])
        return [_marked(trace, kept[trace.id][0]) for trace in whole]

    def run(
        self, rollout: Rollout, stage: str, specs: Sequence[EpisodeSpec], *, keep: bool = False
    ) -> list[Trajectory]:
        """The episodes' trajectories in the order of `specs`: from the store where it has them, else run now."""
        return run_stored(self.store, rollout, stage, self.arm, self.round, specs, self.watch, keep=keep)

    def charge(self, purpose: str, items: Sequence[tuple[str, str, Cost, bool | None]]) -> None:
        """Enter what pieces of work cost: by whom, which, how much, and whether it is kept. Each is entered once."""
        tokens = sum(cost.output_tokens for _, _, cost, _ in items)
        spent = tokens + (sum(cost.input_tokens for _, _, cost, _ in items) if self.reading else 0)
        self.watch.advance(spent)
        self._spent += spent
        self.bought.teacher_tokens += tokens
        if items:
            self.store.ledger_add(
                *(
                    LedgerEntry(
                        arm=self.arm,
                        round=self.round,
                        stage=purpose,
                        policy=policy,
                        purpose=purpose,
                        input_tokens=cost.input_tokens,
                        output_tokens=cost.output_tokens,
                        accepted=accepted,
                        key=f"{purpose}/{self.arm}/{self.round}/{work}",
                    )
                    for policy, work, cost, accepted in items
                )
            )

    def _cost(self, trace: Trajectory) -> Cost:
        """What the teacher read and wrote in a trajectory, a copied prefix left out."""
        return Cost(input_tokens=self._read(trace), output_tokens=trace.tokens("teacher"))

    def _cost_of_recovery(self, recovery: Recovery) -> Cost:
        read = sum(map(self._read, (recovery.trajectory, *recovery.others)))
        return Cost(input_tokens=read, output_tokens=recovery.teacher_tokens)

    def _read(self, trace: Trajectory) -> int:
        if self.renderer is not None:
            return tokens_read(trace, self.renderer)
        return tokens_told(trace)

    def charge_findings(self, teacher: str, traces: Sequence[Trajectory], findings: Sequence[Finding]) -> None:
        """Enter what it cost to look for divergences."""
        both = list(zip(traces, findings, strict=True))
        self.bought.student_tokens += sum(finding.cost.student_tokens for finding in findings)
        self.charge("divergence", [(teacher, t.id, f.cost, f.divergence is not None) for t, f in both if f.cost.calls])

    def _next_tasks(self, count: int) -> Sequence[Task]:
        first = self.bought.episodes
        self.bought.episodes += count
        if self.curriculum.tasks == "fresh":
            return self.tasks(first, count)
        fixed = self.tasks(0, self.curriculum.set_size)
        if self.curriculum.tasks == "in_turn":
            return [fixed[number % len(fixed)] for number in range(first, first + count)]
        luck = derive_seed("curriculum", self.seed, first)
        return draw_tasks(fixed, self.history, count, luck, self.curriculum.rest_after)

    def _specs(self, tasks: Sequence[Task], actor: Actor, most_steps: int | None = None) -> list[EpisodeSpec]:
        first = self.bought.episodes - len(tasks)
        fresh = self.curriculum.tasks == "fresh"
        seeds = [
            derive_seed("episode", self.seed, task.id, *(() if fresh else (first + index,)))
            for index, task in enumerate(tasks)
        ]
        return [
            EpisodeSpec(task, seed, actor, most_steps=most_steps, attempt=0 if fresh else first + index)
            for index, (task, seed) in enumerate(zip(tasks, seeds, strict=True))
        ]

    def _find(self, detector: Detector, laboratory: Laboratory, traces: Sequence[Trajectory]) -> list[Finding]:
        """What the detector finds in each: from the store where it has it, so that nothing is asked twice.

        What broke is not kept: a resumed run may meet better machinery.
        """
        place = f"found/{self.arm}/{self.round}"
        kept = cast("dict[str, Any]", self.store.result(place) or {})
        missing = [trace for trace in traces if trace.id not in kept]
        new = dict(zip((trace.id for trace in missing), find_all(detector, missing, laboratory), strict=True))
        for name, (divergence, cost, problem) in new.items():
            if not problem:
                found = divergence and divergence.model_dump(mode="json")
                kept[name] = [found, cost.model_dump(mode="json")]
        if new:
            self.store.put_result(place, kept)
        return [new[trace.id] if trace.id in new else _finding(*kept[trace.id]) for trace in traces]


def _finding(found: Any, cost: Any) -> Finding:
    return Finding(found and Divergence.model_validate(found), Cost.model_validate(cost))


def _chunk(budget: int, spent: int, bought: int) -> int:
    """How many traces to buy next, going by what one has cost so far; one at a time as the budget runs out."""
    return max(1, min(CHUNK, int(CAUTION * (budget - spent) / (spent / bought))))


def _marked(trace: Trajectory, scores: Sequence[float]) -> Trajectory:
    """The trajectory with the turns of score 0 marked as mistaken."""
    steps = tuple(
        step if score else step.model_copy(update={"completion": step.completion.model_copy(update={"mistaken": True})})
        for step, score in zip(trace.steps, scores, strict=True)
    )
    return trace.model_copy(update={"steps": steps})
