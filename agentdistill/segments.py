"""From verified traces to training rows: exact token ids and a mask that only the teacher's turns fill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from agentdistill.chat import Renderer
from agentdistill.errors import SegmentError, SegmentTooLongError
from agentdistill.records import Segment, Step, Trajectory


def rows_of(trajectory: Trajectory, renderer: Renderer, context: int) -> list[Segment]:
    """The training rows of a teacher's trace: a clean one, or a takeover with the student's prefix as context.

    It is one row where the student's chat template keeps what it has written, and else one for each stretch of turns
    that it keeps. Each turn of the teacher carries loss in one row only.

    Args:
        trajectory: what happened.
        renderer: of the student's tokenizer.
        context: longest row, in tokens.

    Raises:
        NothingSupervisedError: no turn of the teacher in it.
        SegmentTooLongError: a row is longer than `context`; the trace is refused, not cut.
        TemplateError: the chat template does not let the mask be proved.
    """
    rows = renderer.rows(trajectory, trained="teacher")
    longest = max(len(row.ids) for row in rows)
    if longest > context:
        raise SegmentTooLongError(f"trajectory {trajectory.id}: {longest} tokens, the student holds {context}")
    kind: Literal["clean", "recovery"] = "recovery" if trajectory.parent else "clean"
    inferred = any(_is_inferred(step) for step in trajectory.steps)
    return [
        Segment(
            id=f"{kind}-{trajectory.id}" + (f"-{number}" if number else ""),
            kind=kind,
            trajectory_id=trajectory.id,
            input_ids=tuple(row.ids),
            loss_mask=tuple(row.mask),
            tokens="inferred" if inferred else "exact",
        )
        for number, row in enumerate(rows)
    ]


def _is_inferred(step: Step) -> bool:
    """Whether the ids of a turn are not known from who sampled them; a teacher's are the student's own either way."""
    return step.completion.inferred or (step.actor == "student" and not step.completion.token_ids)


def segments_of(
    trajectories: Iterable[Trajectory], renderer: Renderer, context: int
) -> tuple[list[Segment], Counter[str]]:
    """Rows of all verified traces, and how many traces were refused for which reason."""
    rows: list[Segment] = []
    refused: Counter[str] = Counter()
    for trajectory in trajectories:
        if trajectory.errored:
            refused["infrastructure error"] += 1
        elif not trajectory.succeeded:
            refused["not verified"] += 1
        else:
            try:
                rows += rows_of(trajectory, renderer, context)
            except SegmentError as error:
                refused[type(error).__name__] += 1
    return rows, refused
