"""From traces to training rows: exact token ids, and a mask that only the turns to be learnt from fill."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from agentdistill.chat import Renderer, Trained
from agentdistill.errors import SegmentError, SegmentTooLongError
from agentdistill.records import Segment, Step, Trajectory

Kind = Literal["clean", "recovery", "label", "choice", "own"]


def rows_of(
    trajectory: Trajectory,
    renderer: Renderer,
    context: int,
    *,
    kind: Kind | None = None,
    trained: Trained = "teacher",
    prefix: bool = False,
    step_weights: Sequence[float] | None = None,
) -> list[Segment]:
    """The training rows of a trace: a clean one, a takeover with the student's prefix as context, a label, ...

    It is one row where the student's chat template keeps what it has written, and else one for each stretch of turns
    that it keeps. Each turn to be learnt carries loss in one row only; one that was mistaken on purpose never does.

    Args:
        trajectory: what happened.
        renderer: of the student's tokenizer.
        context: longest row, in tokens.
        kind: what to call it. By default `clean` or, where it leaves another trace, `recovery`; and `own` or `choice`
            if only the student's turns are trained on.
        trained: whose turns carry loss.
        prefix: whether the copied prefix is trained on as well, as far as it is `trained`'s.
        step_weights: a factor for the loss of each step's tokens, one per step of the trajectory.

    Raises:
        NothingSupervisedError: no turn to learn from in it.
        SegmentTooLongError: a row is longer than `context`; the trace is refused, not cut.
        TemplateError: the chat template does not let the mask be proved.
    """
    rows = renderer.rows(trajectory, trained, prefix)
    longest = max(len(row.ids) for row in rows)
    if longest > context:
        raise SegmentTooLongError(f"trajectory {trajectory.id}: {longest} tokens, the student holds {context}")
    if kind is None and trained == "student":
        kind = "choice" if trajectory.parent else "own"
    kind = kind or ("recovery" if trajectory.parent else "clean")
    inferred = any(_is_inferred(step) for step in trajectory.steps)
    taught = [step.actor == "teacher" for step in trajectory.steps]
    segments = []
    for number, row in enumerate(rows):
        known = not all(map(math.isnan, row.logprobs))
        weights = () if step_weights is None else tuple(1.0 if at < 0 else step_weights[at] for at in row.steps)
        segments.append(
            Segment(
                id=f"{kind}-{trajectory.id}" + (f"-{number}" if number else ""),
                kind=kind,
                trajectory_id=trajectory.id,
                input_ids=tuple(row.ids),
                loss_mask=tuple(row.mask),
                tokens="inferred" if inferred else "exact",
                weights=weights,
                logprobs=tuple(row.logprobs) if known else (),
                by_teacher=tuple(at >= 0 and taught[at] for at in row.steps),
            )
        )
    return segments


def _is_inferred(step: Step) -> bool:
    """Whether the ids of a turn are not known from who sampled them; a teacher's are the student's own either way."""
    return step.completion.inferred or (step.actor == "student" and not step.completion.token_ids)


def segments_of(
    trajectories: Iterable[Trajectory],
    renderer: Renderer,
    context: int,
    *,
    kind: Kind | None = None,
    trained: Trained = "teacher",
    prefix: bool = False,
    unverified: bool = False,
) -> tuple[list[Segment], Counter[str]]:
    """Rows of all traces that may be learnt from, and how many traces were refused for which reason.

    These are the verified ones. Labels are of states and have no verdict: for the kind `label` none is asked for.
    With `unverified`, failed and paused traces are taken too. See `rows_of` for the rest.
    """
    rows: list[Segment] = []
    refused: Counter[str] = Counter()
    for trajectory in trajectories:
        if trajectory.errored:
            refused["infrastructure error"] += 1
        elif not (trajectory.succeeded or unverified or kind == "label"):
            refused["paused" if trajectory.paused else "not verified"] += 1
        else:
            try:
                rows += rows_of(trajectory, renderer, context, kind=kind, trained=trained, prefix=prefix)
            except SegmentError as error:
                refused[type(error).__name__] += 1
    return rows, refused
