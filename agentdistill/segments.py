"""From verified traces to training rows: exact token ids and a mask that only the teacher's turns fill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from agentdistill.chat import Renderer
from agentdistill.errors import SegmentError, SegmentTooLongError
from agentdistill.records import Segment, Trajectory


def segment_of(trajectory: Trajectory, renderer: Renderer, context: int) -> Segment:
    """The training row of a teacher's trace: a clean one, or a takeover with the student's prefix as context.

    Args:
        trajectory: what happened.
        renderer: of the student's tokenizer.
        context: longest row, in tokens.

    Raises:
        NothingSupervisedError: no turn of the teacher in it.
        SegmentTooLongError: longer than `context`; it is refused, not cut.
        TemplateError: the chat template does not let the mask be proved.
    """
    ids, mask = renderer.example(trajectory, trained="teacher")
    if len(ids) > context:
        raise SegmentTooLongError(f"trajectory {trajectory.id}: {len(ids)} tokens, the student holds {context}")
    kind: Literal["clean", "recovery"] = "recovery" if trajectory.parent else "clean"
    return Segment(
        id=f"{kind}-{trajectory.id}",
        kind=kind,
        trajectory_id=trajectory.id,
        input_ids=tuple(ids),
        loss_mask=tuple(mask),
    )


def segments_of(
    trajectories: Iterable[Trajectory], renderer: Renderer, context: int
) -> tuple[list[Segment], Counter[str]]:
    """Rows of all verified traces, and how many were refused for which reason."""
    rows: list[Segment] = []
    refused: Counter[str] = Counter()
    for trajectory in trajectories:
        if trajectory.errored:
            refused["infrastructure error"] += 1
        elif not trajectory.succeeded:
            refused["not verified"] += 1
        else:
            try:
                rows.append(segment_of(trajectory, renderer, context))
            except SegmentError as error:
                refused[type(error).__name__] += 1
    return rows, refused
