"""What is worth keeping: filters and balance over recoveries and clean traces. Each that is rejected has its reason."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from agentdistill.leaks import leak_in, silenced
from agentdistill.policies import Scorer, ScoreRequest
from agentdistill.records import Message, Recovery, Segment, Task, Trajectory, digest_of

Trace = TypeVar("Trace", Recovery, Trajectory)
SHINGLE = 3
"""Words in a row by which texts are compared."""


class CurationConfig(BaseModel):
    """What is kept. The default asks for a verified trace without a leak, and nothing more."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verified: bool = True
    """Keep only what the hidden check has passed."""
    leaks: Literal["silence", "refuse", "strict", "keep"] = "silence"
    """What is done about a teacher's private note and talk of a hand-over. `refuse` rejects traces in which either is
    found. `silence` does so too, and of a teacher that was told a note keeps the calls only: no pattern finds all that
    can be said in words. `strict` refuses words for others and for sources that the conversation has not used."""
    most_repeats: int | None = Field(None, gt=0)
    """Times the same call may be made in the same world by the one who is learnt from."""
    most_echoes: int | None = Field(None, gt=0)
    """Times the same eight words in a row may be said in one turn."""
    most_steps: int | None = Field(None, gt=0)
    """Turns after the hand-over (of a clean trace: all)."""
    most_alike: float | None = Field(None, gt=0, le=1)
    """Refuse what begins in the same world as one that is kept, for the same task, and says the same but for a part:
    the share of word triples in common from which two texts count as the same."""
    per_task: int | None = Field(None, gt=0)
    """Most kept of one task."""
    per_family: int | None = Field(None, gt=0)
    """Most kept of one family of tasks."""
    per_detector: int | None = Field(None, gt=0)
    """Most kept of divergences that one detector found."""
    per_depth: int | None = Field(None, gt=0)
    """Most kept that were taken over after the same number of steps."""
    hardest: float = Field(0.0, ge=0, le=1)
    """Refuse tasks in which students succeed less often."""
    easiest: float = Field(1.0, ge=0, le=1)
    """Refuse tasks in which students succeed more often."""


@dataclass
class Curated(Generic[Trace]):
    """What is kept, and why each of the others is not: reasons by the trajectory's id."""

    kept: list[Trace] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def refused(self) -> Counter[str]:
        """How many were rejected for which reason."""
        return Counter(self.reasons.values())


def curate(
    traces: Sequence[Trace],
    config: CurationConfig,
    *,
    family: Callable[[Task], str] = lambda task: task.environment,
    success: Mapping[str, float] | None = None,
) -> Curated[Trace]:
    """Keep what the config lets through, in the order it comes in: where there is a cap, the first are kept.

    Whatever its config says, a trace whose machinery broke is refused.

    Args:
        traces: recoveries or clean traces.
        config: what to ask for.
        family: which family a task belongs to.
        success: students' success per task, by the task's content hash; tasks that are not in it pass.
    """
    curated: Curated[Trace] = Curated()
    kept: Counter[tuple[str, str]] = Counter()
    texts: dict[str, list[set[tuple[str, ...]]]] = {}
    for trace in traces:
        if isinstance(trace, Recovery) and trace.note and config.leaks == "silence":
            trace = trace.model_copy(update={"trajectory": silenced(trace.trajectory)})
        recovery = trace if isinstance(trace, Recovery) else None
        trajectory = trace.trajectory if isinstance(trace, Recovery) else trace
        if trajectory.errored:  # it may not even have the steps that it was to begin with
            curated.reasons[trajectory.id] = "infrastructure error"
            continue
        start = trajectory.parent.step if trajectory.parent else 0
        begun, said = _beginning(trajectory, start), _shingles(trajectory, start)
        groups = {
            "task": (config.per_task, trajectory.task.content_hash),
            "family": (config.per_family, family(trajectory.task)),
            "detector": (config.per_detector, recovery.divergence.detector if recovery else "none"),
            "depth": (config.per_depth, str(start)),
        }
        reason = _unfit(trajectory, recovery.note if recovery else "", config)
        if not reason and success is not None:
            reason = _off_level(success.get(trajectory.task.content_hash), config)
        if not reason and config.most_alike is not None:
            alike = any(_overlap(said, other) >= config.most_alike for other in texts.get(begun, ()))
            reason = "near-duplicate" if alike else ""
        if not reason:
            full = [name for name, (most, value) in groups.items() if most is not None and kept[name, value] >= most]
            reason = f"enough of this {full[0]}" if full else ""
        if reason:
            curated.reasons[trajectory.id] = reason
            continue
        curated.kept.append(trace)
        texts.setdefault(begun, []).append(said)
        kept.update((name, value) for name, (_, value) in groups.items())
    return curated


def _unfit(trajectory: Trajectory, note: str, config: CurationConfig) -> str:
    """Why a trace is not kept whatever else there is; empty if it may be."""
    start = trajectory.parent.step if trajectory.parent else 0
    if config.verified and not trajectory.succeeded:
        return "paused" if trajectory.paused else "not verified"
    if config.leaks != "keep" and (leak := leak_in(trajectory, note, config.leaks == "strict")):
        return leak
    if config.most_steps is not None and len(trajectory.steps) - start > config.most_steps:
        return "too long"
    if config.most_repeats is not None and _repeats(trajectory, start) > config.most_repeats:
        return "repeats a call in the same world"
    turns = [step.completion.message for step in trajectory.steps[start:]]
    if config.most_echoes is not None and any(_echoes(turn) > config.most_echoes for turn in turns):
        return "repeats its words"
    return ""


def _off_level(rate: float | None, config: CurationConfig) -> str:
    if rate is None:
        return ""
    return "too hard" if rate < config.hardest else "too easy" if rate > config.easiest else ""


def _repeats(trajectory: Trajectory, start: int) -> int:
    """How often the most repeated call is made in one and the same world; where worlds are not known, in a row."""
    made: Counter[tuple[str, str]] = Counter()
    run, last = 0, ""
    for index in range(start, len(trajectory.steps)):
        calls = "".join(
            call.model_dump_json(exclude={"id"}) for call in trajectory.steps[index].completion.message.tool_calls
        )
        world = trajectory.world(index)
        run = run + 1 if calls == last and calls else 1
        last = calls
        key = (world.world_digest if world else f"unknown after {index - run + 1}", calls)
        made[key] += 1
    return max(made.values(), default=0)


def _echoes(message: Message) -> int:
    """How often the most repeated eight words in a row stand in a turn."""
    words = f"{message.reasoning} {message.content}".split()
    grams = Counter(tuple(words[at : at + 8]) for at in range(len(words) - 7))
    return max(grams.values(), default=0)


def _beginning(trajectory: Trajectory, start: int) -> str:
    """Names the task and the world that a trace begins in; where the world is not known, the conversation."""
    world = trajectory.world(start)
    where = world.world_digest if world else digest_of([m.model_dump(mode="json") for m in trajectory.messages(start)])
    return f"{trajectory.task.content_hash} {where}"


def _shingles(trajectory: Trajectory, start: int) -> set[tuple[str, ...]]:
    words = []
    for step in trajectory.steps[start:]:
        said = step.completion.message
        words += said.reasoning.split() + said.content.split()
        for call in said.tool_calls:
            words += [call.name, *(f"{name}={value}" for name, value in call.arguments.items())]
    return {tuple(words[at : at + SHINGLE]) for at in range(max(1, len(words) - SHINGLE + 1))}


def _overlap(one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> float:
    """Jaccard similarity of two sets, in [0, 1]."""
    return len(one & other) / max(1, len(one | other))


# ---- staleness -------------------------------------------------------------------------------------------------------


def staleness(segments: Sequence[Segment], scorer: Scorer) -> list[float]:
    """How far today's student is from the one whose words are a segment's context.

    Args:
        segments: with the log-probabilities that the context's turns were sampled with.
        scorer: today's student.

    Returns:
        For each segment the mean, over the student's tokens without loss, of the log-probability (natural) today less
        the one they were sampled with: 0 for the same student sampled at temperature 1, the lower the less likely it
        is that today's student comes there. NaN where no such token is known.

    Raises:
        PolicyError: the scorer did not answer.
    """
    wanted = [_context(segment) for segment in segments]
    asked = [ScoreRequest(each.input_ids, places) for each, places in zip(segments, wanted, strict=True)]
    found = []
    for segment, places, scores in zip(segments, wanted, scorer.score(asked), strict=True):
        ratios = [now - segment.logprobs[at] for at, now in zip(places, scores.logprobs, strict=True)]
        found.append(sum(ratios) / len(ratios) if ratios else math.nan)
    return found


def _context(segment: Segment) -> tuple[int, ...]:
    """Places of the student's sampled tokens that carry no loss."""
    if not segment.logprobs:
        return ()
    return tuple(
        at
        for at, (here, value) in enumerate(zip(segment.loss_mask, segment.logprobs, strict=True))
        if at > 0 and not here and not math.isnan(value) and not (segment.by_teacher and segment.by_teacher[at])
    )


def refresh(
    segments: Sequence[Segment], stale: Sequence[float], *, lowest: float, how: Literal["drop", "weight"] = "drop"
) -> tuple[list[Segment], Counter[str]]:
    """Do without what today's student would hardly come to, or let it count for less.

    Args:
        segments: as `staleness` was given them.
        stale: what it returned; a segment with NaN is kept as it is.
        lowest: the least mean log-probability ratio that is still as good as new (at most 0).
        how: `drop` what is below it, or `weight` its tokens by exp(ratio - lowest), which lies in (0, 1).
    """
    fresh: list[Segment] = []
    refused: Counter[str] = Counter()
    for segment, ratio in zip(segments, stale, strict=True):
        if math.isnan(ratio) or ratio >= lowest:
            fresh.append(segment)
        elif how == "drop":
            refused["stale"] += 1
        else:
            factor = math.exp(ratio - lowest)
            weights = segment.weights or (1.0,) * len(segment.input_ids)
            fresh.append(segment.model_copy(update={"weights": tuple(factor * each for each in weights)}))
    return fresh, refused
