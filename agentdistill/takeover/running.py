"""The takeover itself: batches of episodes, each forked from where a student, or a teacher before, has stopped.

All failures move together: the teacher's turns of all of them are one batch, then the student's after the hand-back,
then the next attempt for those that failed. What each failure costs, attempts in vain included, is in its `Recovery`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from agentdistill.environment import ToolEnvironment
from agentdistill.errors import ConfigError, InfrastructureError
from agentdistill.notes import canary, private_note
from agentdistill.records import Completion, Divergence, Recovery, Trajectory, derive_seed
from agentdistill.rollout import EpisodeSpec, Regained, Rollout
from agentdistill.takeover.chains import Case, Chain, since
from agentdistill.takeover.config import TakeoverConfig

Find = Callable[[Sequence[Trajectory]], Sequence[Divergence | None]]
Critic = Callable[[Sequence[tuple[Trajectory, Divergence]]], Sequence[Completion]]
Seen = TypeVar("Seen")


class Takeover:
    """Takes over failed trajectories.

    Args:
        config: how.
        teachers: who, the cheapest first: each gets only what those before it failed at.
        student: who goes on after a hand-back, and after the teacher's first turn for the flip.
        find: finds the divergence of trajectories that failed after a hand-back. It is given each as if it had begun
            at the hand-back, so that only the student's new steps are looked at.
        critic: says what went wrong. Its words are kept with the recovery, and told the teacher if `note` has it so.

    Raises:
        ConfigError: the config needs somebody who is not there.
    """

    def __init__(
        self,
        config: TakeoverConfig,
        teachers: Sequence[Rollout],
        student: Rollout | None = None,
        find: Find | None = None,
        critic: Critic | None = None,
    ) -> None:
        if not teachers:
            raise ConfigError("a takeover needs a teacher")
        if student is None and (config.hand_back or config.flip):
            raise ConfigError("hand_back and flip need the student")
        if find is None and config.most > 1:
            raise ConfigError("most > 1 needs a detector that looks at what the student did after the hand-back")
        if critic is None and "critique" in config.note:
            raise ConfigError("a note with a critique needs a critic")
        self.config = config
        keep = config.hand_back or config.flip
        self.teachers = tuple(replace(teacher, keep_snapshots=keep) for teacher in teachers)
        self.student = None if student is None else replace(student, keep_snapshots=config.most > 1)
        self.find = find
        self.critic = critic

    def run(self, failures: Iterable[tuple[Trajectory, Divergence]]) -> Iterator[Recovery]:
        """One recovery for each failure, as soon as it is settled.

        World, conversation, luck and steps left are the student's at the state taken over from; several attempts from
        one state meet fresh luck each. Whether it climbed out is the verdict of the hidden check. Where the machinery
        broke, the recovery's trajectory says so: it is neither verified nor a failure, and no other teacher is tried.
        Where a teacher's rollout has a stage, the worlds after its turns are forgotten once the recovery is out.
        """
        waiting = [self._case(trajectory, divergence) for trajectory, divergence in failures]
        self._inform(waiting)
        while waiting:
            # The cheapest teacher first is done with all that it can try, so that the next has one large batch.
            number = min(case.plan[0][0] for case in waiting)
            now = [case for case in waiting if case.plan[0][0] == number]
            waiting = [case for case in waiting if case.plan[0][0] != number]
            settled: list[Case] = []
            for case in self._try(now, number):
                if not case.settle(self.config.episode_tokens):
                    waiting.append(case)
                elif self.config.flip:
                    settled.append(case)
                else:
                    yield self._recovery(case)
            self._flip(settled)
            yield from map(self._recovery, settled)

    # ---- what is known before -------------------------------------------------------------------------------------

    def _case(self, trajectory: Trajectory, divergence: Divergence) -> Case:
        start = divergence.step - (self.config.place == "before")
        depths = [0, *(2**time for time in range(self.config.back_off))]
        depths = sorted({min(depth, start) for depth in depths})
        plan = [(number, depth) for number in range(len(self.teachers)) for depth in depths]
        return Case(trajectory, divergence, start, plan)

    def _inform(self, cases: Sequence[Case]) -> None:
        """Ask the critic, and write the teachers' notes."""
        if self.critic is not None and cases:
            said = self.critic([(case.failure, case.divergence) for case in cases])
            for case, completion in zip(cases, said, strict=True):
                case.critique = completion.message.content
                case.teacher_tokens += completion.output_tokens
        if not self.config.note:
            return
        references: Mapping[int, str] = {}
        if "reference" in self.config.note:
            states = [(case.failure, case.divergence.step) for case in cases]
            references = self._visit(states, lambda environment: environment.reference())
        for number, case in enumerate(cases):
            verdict = case.failure.verdict
            known = {
                "verdict": verdict.detail if verdict else "",
                "reference": references.get(number, ""),
                "critique": case.critique,
            }
            mark = canary(case.failure.id, case.divergence.step)
            case.note = private_note({kind: known[kind] for kind in self.config.note}, mark)

    def _visit(
        self, states: Sequence[tuple[Trajectory, int]], look: Callable[[ToolEnvironment], Seen]
    ) -> dict[int, Seen]:
        """What `look` sees in each of these states, by number; a state that cannot be restored is left out."""
        seen: dict[int, Seen] = {}
        environment = self.teachers[0].make_environment()
        try:
            for number, (trajectory, step) in enumerate(states):
                world = trajectory.world(step)
                if world is None:
                    continue
                try:
                    environment.restore(world, task=trajectory.task)
                except InfrastructureError:
                    continue  # whoever acts from this state will meet the same, and the episode will say so
                seen[number] = look(environment)
        finally:
            environment.close()
        return seen

    # ---- one round of attempts ------------------------------------------------------------------------------------

    def _try(self, cases: Sequence[Case], number: int) -> Iterator[Case]:
        """Let teacher `number` try each case from its planned state; yield each as all its attempts have ended."""
        chains: list[Chain] = []
        for case in cases:
            _, depth = case.plan.pop(0)
            case.tries = [
                Chain(case, number, attempt, depth, case.failure, case.start - depth, case.divergence.step)
                for attempt in range(self.config.attempts)
            ]
            chains += case.tries
        while chains:
            paused: list[Chain] = []
            for chain in self._act(self.teachers[number], chains, self._teaching(chains)):
                chain.takeovers += 1
                if self.config.hand_back and chain.trajectory.paused:
                    paused.append(chain)
                elif chain.end():
                    yield chain.case
            failed: list[Chain] = []
            if paused:
                assert self.student is not None
                for chain in self._act(self.student, paused, [self._handing(chain) for chain in paused]):
                    if chain.trajectory.failed and chain.takeovers < self.config.most and not self._spent(chain.case):
                        failed.append(chain)
                    elif chain.end():
                        yield chain.case
            chains = []
            for chain in self._derailed(failed):
                if chain.ended:
                    if chain.case.complete:
                        yield chain.case
                else:
                    chains.append(chain)

    def _teaching(self, chains: Sequence[Chain]) -> list[EpisodeSpec]:
        """The teacher's episodes: from where each chain is to be taken over."""
        before: Mapping[int, float | None] = {}
        if self.config.until == "progress":
            states = [(chain.trajectory, chain.mistake - 1) for chain in chains]
            before = self._visit(states, lambda environment: environment.progress())
        specs = []
        for number, chain in enumerate(chains):
            case, until = chain.case, None
            if self.config.until == "progress":
                outcomes = chain.trajectory.steps[chain.mistake - 1].outcomes
                missed = tuple(dict.fromkeys(o.tool for o in outcomes if o.status != "ok"))
                until = Regained(before.get(number), missed)
            fresh = self.config.attempts > 1
            told: list[str | int] = ["takeover", case.failure.seed, chain.start]
            if chain.teacher or fresh or chain.takeovers:
                told += [chain.teacher, chain.attempt, chain.takeovers]
            specs.append(
                EpisodeSpec(
                    task=case.failure.task,
                    seed=derive_seed(*told),
                    actor="teacher",
                    fork=(chain.trajectory, chain.start),
                    reseed=fresh and not chain.takeovers,
                    most_steps=self.config.steps,
                    most_tokens=self._share(chain, len(chains)),
                    until=until,
                    note=case.note,
                )
            )
        return specs

    def _share(self, chain: Chain, chains: int) -> int | None:
        """What this attempt may spend of what is left of the case's own budget."""
        if self.config.episode_tokens is None:
            return None
        left = self.config.episode_tokens - chain.case.spent
        return max(1, left // sum(not each.ended for each in chain.case.tries))

    def _spent(self, case: Case) -> bool:
        return self.config.episode_tokens is not None and case.spent >= self.config.episode_tokens

    def _handing(self, chain: Chain) -> EpisodeSpec:
        """The student's episode: from where the teacher has stopped."""
        chain.start = len(chain.trajectory.steps)
        seed = derive_seed("hand-back", chain.case.failure.seed, chain.start, chain.teacher, chain.attempt)
        return EpisodeSpec(chain.case.failure.task, seed, fork=(chain.trajectory, chain.start))

    def _derailed(self, chains: Sequence[Chain]) -> Sequence[Chain]:
        """Where each chain is to be taken over once more.

        One in which no divergence is found, or which was over with the mistake, ends.
        """
        if not chains:
            return chains
        assert self.find is not None
        found = self.find([since(chain.trajectory, chain.start) for chain in chains])
        for chain, divergence in zip(chains, found, strict=True):
            if divergence is None:
                chain.end()
                continue
            mistake = chain.start + divergence.step
            start = mistake - (self.config.place == "before")
            if start < len(chain.trajectory.steps):
                chain.mistake, chain.start = mistake, start
            else:
                chain.end()
        return chains

    def _act(self, rollout: Rollout, chains: Sequence[Chain], specs: Sequence[EpisodeSpec]) -> Iterator[Chain]:
        """Run the chains' next episodes, and yield each chain with its trajectory so far, as they end."""
        of: dict[str, list[Chain]] = {}
        unique: dict[str, EpisodeSpec] = {}
        for chain, spec in zip(chains, specs, strict=True):
            of.setdefault(spec.id, []).append(chain)  # two failures may have a state in common
            unique[spec.id] = spec
        for trajectory in rollout.run(unique.values()):
            for chain in of[trajectory.id]:
                yield chain.went(trajectory, self.teachers[chain.teacher].policy.name)

    # ---- what comes of it -----------------------------------------------------------------------------------------

    def _flip(self, cases: Sequence[Case]) -> None:
        """Find out for each case whether the student succeeds after the teacher's first turn."""
        asked: dict[str, tuple[EpisodeSpec, list[Case]]] = {}
        for case in cases:
            kept = case.kept
            first = kept.first + 1
            if kept.trajectory.errored or len(kept.trajectory.steps) < first:
                continue
            others = [step.actor for step in kept.trajectory.steps[first:]]
            if not kept.trajectory.paused and "teacher" not in others:
                case.flipped = kept.trajectory.succeeded  # that is what has been done already
                continue
            seed = derive_seed("flip", case.failure.seed, first, kept.teacher, kept.attempt)
            spec = EpisodeSpec(case.failure.task, seed, fork=(kept.trajectory, first))
            asked.setdefault(spec.id, (spec, []))[1].append(case)
        if not asked:
            return
        assert self.student is not None
        for trajectory in replace(self.student, keep_snapshots=False).run(spec for spec, _ in asked.values()):
            for case in asked[trajectory.id][1]:
                case.student_tokens += trajectory.tokens("student")
                case.flipped = None if trajectory.errored else trajectory.succeeded

    def _recovery(self, case: Case) -> Recovery:
        kept = case.kept
        for teacher in self.teachers:
            teacher.release(case.episodes)
        if self.student is not None:
            self.student.release(case.episodes)
        return Recovery(
            divergence=case.divergence,
            trajectory=kept.trajectory,
            teacher_tokens=case.spent,
            place=self.config.place,
            depth=kept.depth,
            attempt=kept.attempt,
            flipped=case.flipped,
            note=case.note,
            critique=case.critique,
            student_tokens=case.student_tokens,
            others=tuple(chain.trajectory for chain in case.done if chain is not kept),
        )
