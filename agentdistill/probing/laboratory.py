"""Who is probed: the student, the teacher, their environments, and who scores for them."""

from __future__ import annotations

from dataclasses import dataclass

from agentdistill.chat import Renderer
from agentdistill.policies import Scorer
from agentdistill.rollout import Rollout


@dataclass(frozen=True)
class Laboratory:
    """Who is probed, and with what.

    Attributes:
        student: the student and its environments.
        teacher: the teacher and its environments.
        renderer: of the student's tokenizer: in its tokens is counted what a teacher reads that does not say; without
            one that is not counted.
        student_scorer: gives the student's log-probabilities, if anybody does.
        teacher_scorer: gives the teacher's, of ids of the student's vocabulary.
    """

    student: Rollout
    teacher: Rollout
    renderer: Renderer | None
    student_scorer: Scorer | None = None
    teacher_scorer: Scorer | None = None
