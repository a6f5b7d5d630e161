"""The ways of a teacher, each as one function: from a budget to rows and pairs that a student can learn from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agentdistill.bought import Bought
from agentdistill.chat import Renderer, Trained
from agentdistill.collection import Collector
from agentdistill.curation import Trace, curate, refresh, staleness
from agentdistill.curriculum import at, delayed
from agentdistill.divergence import Detector, detector
from agentdistill.errors import ConfigError
from agentdistill.loading import load_policy
from agentdistill.losses import load_loss, needs_of
from agentdistill.pairs import pairs_of
from agentdistill.policies import Scorer
from agentdistill.policies.erring import Erring
from agentdistill.policies.informed import Informed
from agentdistill.policies.local import LocalPolicy
from agentdistill.policies.mixture import Mixture
from agentdistill.policies.scripted import ScriptedTeacher
from agentdistill.probing import Laboratory, find_all
from agentdistill.recipes import (
    ChooseRecipe,
    CleanRecipe,
    Recipe,
    RewriteRecipe,
    ScoreRecipe,
    TakeoverRecipe,
    TriageConfig,
)
from agentdistill.records import Completion, Cost, Divergence, Message, Recovery, Segment, Trajectory
from agentdistill.rollout import Rollout
from agentdistill.segments import Kind, segments_of
from agentdistill.takeover import Takeover
from agentdistill.teaching import Choice, choose, explain, score_tokens, with_critique
from agentdistill.training import Pool
from agentdistill.triage import Candidate, triage


@dataclass(frozen=True)
class People:
    """Who acts in a round.

    Attributes:
        student: its policy in its world; snapshots are kept.
        renderer: of the student's tokenizer; without one there are traces, but no rows and pairs to train on.
        context: longest row, in tokens.
        teacher: the run's teacher, of a style, in the student's world with these options changed.
        scorer: the run's learned teacher, if it has one.
        seed: of the run.
    """

    student: Rollout
    renderer: Renderer | None
    context: int
    teacher: Callable[[str, Mapping[str, Any]], Rollout]
    scorer: LocalPolicy | None
    seed: int

    def named(self, name: str) -> Rollout:
        """A teacher as a recipe names it.

        Raises:
            ConfigError: the run has none of that name.
            UsageError: it cannot be loaded.
        """
        if name == "teacher":
            return self.teacher("knowing", {})
        if name == "self":
            return replace(self.student, policy=Informed(self.student.policy), keep_snapshots=False)
        if name == "scorer":
            return replace(self.student, policy=Informed(self.learned), keep_snapshots=False)
        return replace(self.student, policy=load_policy(name), keep_snapshots=False)

    @property
    def laboratory(self) -> Laboratory:
        """What detectors may try out, with the run's teacher and, where there is one, its scorer."""
        return Laboratory(
            student=self.student,
            teacher=self.teacher("knowing", {}),
            renderer=self.renderer,
            teacher_scorer=self.scorer,
            student_scorer=self.student.policy if isinstance(self.student.policy, Scorer) else None,
        )

    @property
    def spoken(self) -> bool:
        """Whether the student's form has no place for thoughts, so that a critique is said aloud."""
        return self.renderer is None or self.renderer.template.form.thought is None

    def count(self, message: Message) -> int:
        """Tokens of a turn for the student, as far as they can be counted."""
        return 0 if self.renderer is None else self.renderer.count(message)

    @property
    def learned(self) -> LocalPolicy:
        """The run's learned teacher.

        Raises:
            ConfigError: it has none.
        """
        if self.scorer is None:
            raise ConfigError("this recipe needs a teacher that gives log-probabilities: set scorer = {model = FOLDER}")
        return self.scorer


def gather(recipe: Recipe, collector: Collector, people: People) -> Bought:
    """Spend the collector's budget in the recipe's way.

    Raises:
        ConfigError: the recipe needs somebody whom the run does not have.
    """
    if isinstance(recipe, CleanRecipe):
        _demonstrate(recipe, collector, people)
    elif isinstance(recipe, TakeoverRecipe):
        _take_over(recipe, collector, people)
    elif isinstance(recipe, RewriteRecipe):
        _rewrite(recipe, collector, people)
    elif isinstance(recipe, ChooseRecipe):
        _choose(recipe, collector, people)
    else:
        _score(recipe, collector, people)
    return collector.bought


def pools_of(recipe: Recipe, clean: Sequence[Segment], bought: Bought) -> list[Pool]:
    """What a recipe's student learns from, and by which losses; the share of what is not there goes to the rest."""
    learnt = 1 - recipe.replay
    pairs = recipe.pairs if isinstance(recipe, TakeoverRecipe | ChooseRecipe) and bought.pairs else 0.0
    own = recipe.own if isinstance(recipe, TakeoverRecipe) and bought.own else 0.0
    pools = [
        Pool(clean, recipe.replay, load_loss(recipe.replay_loss)),
        Pool(bought.segments, learnt * max(0.0, 1 - pairs - own), load_loss(recipe.loss)),
        Pool(bought.own, learnt * own, load_loss(recipe.loss)),
    ]
    if isinstance(recipe, TakeoverRecipe | ChooseRecipe):
        pools.append(Pool(bought.pairs, learnt * pairs, load_loss(recipe.pair_loss)))
    return [pool for pool in pools if pool.share > 0 and pool.rows]


def refreshed(recipe: Recipe, rows: Sequence[Segment], student: LocalPolicy) -> tuple[list[Segment], Counter[str]]:
    """Rows of earlier rounds as far as today's student would still come there, and how many are left out as stale."""
    if recipe.stale is None:
        return list(rows), Counter()
    return refresh(rows, staleness(rows, student), lowest=recipe.stale.lowest, how=recipe.stale.how)


def _demonstrate(recipe: CleanRecipe, collector: Collector, people: People) -> None:
    """The teacher works from the tasks' start, erring on purpose if it is to."""
    teacher = people.teacher(recipe.style, recipe.world)
    if recipe.mistakes:
        once, seed = recipe.once_within, collector.seed
        erring = Erring(teacher.policy, recipe.mistakes, once=once, seed=seed, count=people.count)
        teacher = replace(teacher, policy=erring)
    traces: list[Trajectory] = []
    for want in collector.chunks():
        traces += collector.demonstrations(teacher, want)
    _keep(recipe, collector, people, traces)


def _take_over(recipe: TakeoverRecipe, collector: Collector, people: People) -> None:
    """The student acts; where its run diverged, a teacher takes over."""
    laboratory, find = people.laboratory, detector(recipe.detectors, people.seed)
    # Worlds after a hand-over are kept under names of their own, and forgotten with each takeover that has ended.
    stage = f"takeover/{collector.arm}/{collector.round}"
    needs_student = recipe.takeover.hand_back or recipe.takeover.flip
    takeover = Takeover(
        recipe.takeover,
        [replace(people.named(name), stage=stage) for name in recipe.teachers],
        student=replace(people.student, stage=stage) if needs_student else None,
        find=(lambda traces: _found_again(collector, laboratory, find, traces)) if recipe.takeover.most > 1 else None,
        critic=_critic(people) if recipe.explain or "critique" in recipe.takeover.note else None,
    )
    acting = _acting(recipe, collector, people, people.teacher("knowing", {}))
    recoveries: list[Recovery] = []
    failures: dict[str, Trajectory] = {}
    for want in collector.chunks():
        states = collector.diverged(
            acting,
            find,
            laboratory,
            want,
            everything=recipe.on == "all",
            before=recipe.takeover.place == "before",
            worth=_worth(recipe.triage, collector, laboratory),
        )
        if not states:
            break
        late = at(recipe.curriculum.delay, collector.round)
        states = [(trace, delayed(trace, found, late)) for trace, found in states]
        recoveries += collector.recoveries(takeover, states)
        failures |= {trace.id: trace for trace, _ in states}
    if recipe.explain:
        recoveries = [with_critique(recovery, spoken=people.spoken) for recovery in recoveries]
    _keep(recipe, collector, people, recoveries, trained=recipe.train, prefix=recipe.train == "all")
    if recipe.pairs:
        _keep_pairs(collector, people, [(each, failures[each.divergence.trajectory_id]) for each in recoveries])
    if recipe.own and people.renderer is not None:
        own, _ = segments_of(collector.solved, people.renderer, people.context, trained="student")
        collector.bought.own += own


def _rewrite(recipe: RewriteRecipe, collector: Collector, people: People) -> None:
    """Student and teacher act in turns; the teacher labels every state they visit."""
    teacher = people.teacher("knowing", {})
    acting = _acting(recipe, collector, people, teacher, recipe.beta)
    labels: list[Trajectory] = []
    for want in collector.chunks():
        traces = collector.attempts(acting, want, keep=True)  # a privileged teacher looks at each world
        if not traces:
            break
        labels += collector.labels(teacher, traces)
    _keep(recipe, collector, people, labels, kind="label", verified=False)


def _choose(recipe: ChooseRecipe, collector: Collector, people: People) -> None:
    """The student tries again and again from the point of divergence; nothing of it costs the teacher a token."""
    laboratory, find = people.laboratory, detector(recipe.detectors, people.seed)
    states = collector.diverged(
        _acting(recipe, collector, people, people.teacher("knowing", {})),
        find,
        laboratory,
        recipe.states,
        everything=recipe.on == "all",
        before=True,
        worth=_worth(recipe.triage, collector, laboratory),
    )
    choices = list(choose(people.student, states, recipe.attempts))
    collector.bought.student_tokens += sum(choice.cost.student_tokens for choice in choices)
    best = [choice.best for choice in choices if choice.best is not None]
    _keep(recipe, collector, people, best, trained="student")
    if recipe.pairs:
        _keep_pairs(collector, people, choices)


def _score(recipe: ScoreRecipe, collector: Collector, people: People) -> None:
    """The student acts, or takes turns with the teacher; what it said is scored, token by token or step by step."""
    acting_teacher = people.named("scorer" if recipe.by == "tokens" else "teacher")
    acting = _acting(recipe, collector, people, acting_teacher, recipe.beta)
    mixed = acting is not people.student
    needs = needs_of(load_loss(recipe.loss))
    laboratory = people.laboratory if recipe.by == "steps" else None
    kept: list[Trajectory] = []
    for want in collector.chunks():
        traces = collector.attempts(acting, want, keep=laboratory is not None)
        if not traces:
            break
        if laboratory is not None:
            traces = collector.judged_steps(laboratory, traces)
        else:
            # What is scored is charged as if it had been written: every token of the student's.
            costs = [Cost(calls=1, output_tokens=trace.tokens("student")) for trace in traces]
            scored = [(people.learned.name, t.id, cost, None) for t, cost in zip(traces, costs, strict=True)]
            collector.charge("score", scored)
        kept += traces
    _keep(recipe, collector, people, kept, trained="all" if mixed else "student", verified=False)
    if "teacher_logprobs" in needs:
        collector.bought.segments, _ = score_tokens(collector.bought.segments, people.learned)


def _keep(
    recipe: Recipe,
    collector: Collector,
    people: People,
    found: Sequence[Trace],
    *,
    kind: Kind | None = None,
    trained: Trained = "teacher",
    prefix: bool = False,
    verified: bool = True,
) -> None:
    """Curate recoveries or traces and cut them into rows; what is not taken is counted with its reason."""
    config = recipe.curation if verified else recipe.curation.model_copy(update={"verified": False})
    curated = curate(found, config, success=collector.success)
    collector.bought.refused += curated.refused
    if people.renderer is None:
        return
    traces = [each.trajectory if isinstance(each, Recovery) else each for each in curated.kept]
    rows, refused = segments_of(
        traces,
        people.renderer,
        people.context,
        kind=kind,
        trained=trained,
        prefix=prefix,
        unverified=not config.verified,
    )
    collector.bought.segments += rows
    collector.bought.refused += refused


def _keep_pairs(
    collector: Collector, people: People, found: Sequence[tuple[Recovery, Trajectory]] | Sequence[Choice]
) -> None:
    if people.renderer is None:
        return
    pairs, refused = pairs_of(found, people.renderer, people.context)
    collector.bought.pairs += pairs
    collector.bought.refused += Counter({f"no pair: {reason}": count for reason, count in refused.items()})


def _acting(
    recipe: Recipe, collector: Collector, people: People, teacher: Rollout, beta: Sequence[float] = (0.0,)
) -> Rollout:
    """The student in its world, with the teacher taking the turns that recipe and round give it."""
    share, lead = at(beta, collector.round), int(at(recipe.curriculum.lead, collector.round))
    if not (share or lead):
        return people.student
    return replace(people.student, policy=Mixture(people.student.policy, teacher.policy, share, lead))


def _worth(
    config: TriageConfig | None, collector: Collector, laboratory: Laboratory
) -> Callable[[Sequence[Trajectory]], Sequence[Trajectory]] | None:
    """Picks the failures that cheap detectors find worth their cost, which is taken to be the same for all."""
    if config is None:
        return None
    cheap = detector(config.by)

    def pick(failures: Sequence[Trajectory]) -> Sequence[Trajectory]:
        findings = find_all(cheap, failures, laboratory)
        collector.charge_findings(laboratory.teacher.policy.name, failures, findings)
        seen = [
            Candidate(trace.id, each.divergence.confidence, 1.0, each.divergence.reason)
            for trace, each in zip(failures, findings, strict=True)
            if each.divergence is not None
        ]
        solved = triage(seen, config.keep * len(failures), quotas=config.quotas)
        taken = {candidate.id for candidate in seen if solved.takes(candidate)}
        return [trace for trace in failures if trace.id in taken]

    return pick


def _found_again(
    collector: Collector, laboratory: Laboratory, find: Detector, traces: Sequence[Trajectory]
) -> list[Divergence | None]:
    """Where runs that were handed back went wrong again; what it takes to find out is charged."""
    findings = find_all(find, traces, laboratory)
    collector.charge_findings(laboratory.teacher.policy.name, traces, findings)
    return [finding.divergence for finding in findings]


def _critic(people: People) -> Callable[[Sequence[tuple[Trajectory, Divergence]]], Sequence[Completion]]:
    """Who says what went wrong: the run's teacher; for a scripted one, which has no words, what the detector saw."""
    policy = people.teacher("knowing", {}).policy
    if not isinstance(policy, ScriptedTeacher):
        return lambda failures: explain(policy, failures)

    def quote(failures: Sequence[tuple[Trajectory, Divergence]]) -> list[Completion]:
        said = [Message(role="assistant", content=found.evidence or found.reason) for _, found in failures]
        return [Completion(message=each, output_tokens=people.count(each), model=policy.name) for each in said]

    return quote
