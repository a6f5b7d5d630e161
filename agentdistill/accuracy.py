"""How often do detectors find the point of divergence, and at what cost: measured against the environment's truth."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydantic import Field, JsonValue

from agentdistill.divergence import Judge, LastRecoverable, Probes
from agentdistill.divergence.judged import ANSWER
from agentdistill.environment import ToolEnvironment
from agentdistill.policies import Request
from agentdistill.policies.scripted import ScriptedPolicy, no_tokens
from agentdistill.probing import Laboratory
from agentdistill.records import Cost, Divergence, Message, Record, ToolCall, Trajectory
from agentdistill.results import Rate, rate_of
from agentdistill.rollout import Rollout


class DetectorAccuracy(Record):
    """How one detector did. Rates are shares of the failed runs in which the truth sees a divergence.

    `broken` counts runs in which a probe's machinery broke: they are in no rate. Costs are per failed run, with or
    without a divergence. `last_recoverable` also tells how often it was right about a world it probed being still
    recoverable, and in how many runs it probed more than ⌈log2 n⌉ + 1 worlds.
    """

    oracle: bool
    exact: Rate
    within_one: Rate
    found: Rate
    teacher_calls: float
    teacher_input_tokens: float
    teacher_tokens: float
    student_tokens: float
    broken: int
    reasons: dict[str, int]
    recoverable_right: Rate | None = None
    beyond_bound: int | None = None


class AccuracyReport(Record):
    """Detectors side by side on the same failed runs, of which `with_divergence` have one by the truth.

    `truth_reasons` counts why: `farther` (more steps are needed), `lost` (nothing can be won any more).
    """

    environment: str
    options: dict[str, JsonValue]
    student: str
    failed: int
    with_divergence: int
    truth_reasons: dict[str, int]
    mean_steps: float
    detectors: dict[str, DetectorAccuracy]


class WatchedRecoverable(LastRecoverable):
    """The last recoverable state, with every world it probed written down: trajectory, step, whether recoverable."""

    notes: list[tuple[str, int, bool]] = Field(default_factory=list)
    """What was probed, in the order in which it was."""

    def recoverable(self, trajectory: Trajectory, step: int, probes: Probes) -> bool:
        """As the detector does it, and written down."""
        answer = super().recoverable(trajectory, step, probes)
        self.notes.append((trajectory.id, step, answer))
        return answer

    def checked(
        self, score: DetectorAccuracy, trajectories: Sequence[Trajectory], environment: ToolEnvironment
    ) -> DetectorAccuracy:
        """The score, with what the truth says of the worlds that were probed: can they be won in the steps left?"""
        by_id = {each.id: each for each in trajectories}
        right = 0
        for name, step, answer in self.notes:
            world = by_id[name].world(step)
            assert world is not None
            environment.restore(world, task=by_id[name].task)
            truth = environment.truth()
            right += truth is not None and truth.winnable(environment.remaining) == answer
        probed = Counter(name for name, _, _ in self.notes)
        bound = {name: math.ceil(math.log2(max(1, len(by_id[name].steps)))) + 1 for name in probed}
        return score.model_copy(
            update={
                "recoverable_right": rate_of(right, len(self.notes)),
                "beyond_bound": sum(count > bound[name] for name, count in probed.items()),
            }
        )


def with_perfect_judge(
    laboratory: Laboratory, judge: Judge, trajectories: Sequence[Trajectory], truths: Sequence[Divergence | None]
) -> Laboratory:
    """The laboratory, its teacher played by one that knows the truth of these runs and answers this judge's questions.

    For teachers that cannot read: it shows what judging costs, and what it comes to at best. That makes it an oracle.
    """
    answers: dict[str, int] = {}
    for trajectory, true in zip(trajectories, truths, strict=True):
        for shown, messages in judge.questions(trajectory):
            answers[messages[-1].content] = true.step if true and true.step in shown else 0

    def answer(request: Request) -> Message:
        step = answers[request.messages[-1].content]
        call = ToolCall(id="call_0", name=ANSWER.name, arguments={"step": step, "reason": "the truth"})
        return Message(role="assistant", tool_calls=(call,))

    count = laboratory.renderer.count if laboratory.renderer else no_tokens
    played = ScriptedPolicy(answer, "perfect-judge", count)
    return replace(laboratory, teacher=Rollout(laboratory.teacher.make_environment, played, keep_snapshots=False))


def true_divergence(trajectory: Trajectory, environment: ToolEnvironment) -> Divergence | None:
    """The first step after which the optimal cost to go has risen and never again falls below what it was.

    `None` where there is none, where the environment does not know, or without snapshots. The cost is that of
    `ToolEnvironment.truth`: steps, whatever is left of the budget, and infinitely many where nothing can be won.
    """
    costs = costs_to_go(trajectory, environment)
    if costs is None:
        return None
    for step in range(1, len(costs)):
        before, here = costs[step - 1], costs[step]
        if here > before and all(later >= before for later in costs[step:]):
            return Divergence(
                trajectory_id=trajectory.id,
                step=step,
                reason="lost" if math.isinf(here) else "farther",
                detector="truth",
                evidence=f"{before:g} steps to go, then {here:g}",
            )
    return None


def costs_to_go(trajectory: Trajectory, environment: ToolEnvironment) -> list[float] | None:
    """The optimal cost to go after 0, 1, ... steps; `None` where the environment does not know, or kept no worlds."""
    costs: list[float] = []
    for step in range(len(trajectory.steps) + 1):
        world = trajectory.world(step)
        if world is None:
            return None
        environment.restore(world, task=trajectory.task)
        truth = environment.truth()
        if truth is None:
            return None
        costs.append(math.inf if truth.cost is None else truth.cost)
    return costs


def score_detector(
    truths: Sequence[Divergence | None], found: Sequence[tuple[Divergence | None, Cost, str]], oracle: bool
) -> DetectorAccuracy:
    """How a detector did, given for each failed run the truth and what was found, at what cost, with which problem."""
    judged = [(true, named) for true, (named, _, problem) in zip(truths, found, strict=True) if true and not problem]
    off = [abs(named.step - true.step) if named else None for true, named in judged]
    spent = sum((cost for _, cost, _ in found), Cost())
    runs = max(1, len(found))
    return DetectorAccuracy(
        oracle=oracle,
        exact=rate_of(sum(each == 0 for each in off), len(off)),
        within_one=rate_of(sum(each is not None and each <= 1 for each in off), len(off)),
        found=rate_of(sum(each is not None for each in off), len(off)),
        teacher_calls=spent.calls / runs,
        teacher_input_tokens=spent.input_tokens / runs,
        teacher_tokens=spent.output_tokens / runs,
        student_tokens=spent.student_tokens / runs,
        broken=sum(bool(problem) for _, _, problem in found),
        reasons=dict(Counter(named.reason for named, _, _ in found if named).most_common(8)),
    )


def report_accuracy(
    environment: str,
    options: dict[str, JsonValue],
    student: str,
    failed: Sequence[Trajectory],
    truths: Sequence[Divergence | None],
    detectors: Mapping[str, DetectorAccuracy],
) -> AccuracyReport:
    """What is to be said of detectors that were run on the same failed runs."""
    return AccuracyReport(
        environment=environment,
        options=options,
        student=student,
        failed=len(failed),
        with_divergence=sum(true is not None for true in truths),
        truth_reasons=dict(Counter(true.reason for true in truths if true)),
        mean_steps=sum(len(each.steps) for each in failed) / max(1, len(failed)),
        detectors=dict(detectors),
    )
