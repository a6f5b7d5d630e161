"""The loss on rows that nobody learns from: measured as it is trained, without a step."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from agentdistill.losses import Loss, needs_of
from agentdistill.training.attention import packing_attention
from agentdistill.training.packing import micro_batches
from agentdistill.training.projection import Work
from agentdistill.training.sampling import Rows, are_pairs, sides, supervised_tokens
from agentdistill.training.scoring import Scored

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class HeldOut:
    """Rows that are set aside, what a loss says of them, and what the student thought of them at the beginning.

    Make it before training begins: losses with a reference compare with the student as it is then.
    """

    def __init__(
        self, model: PreTrainedModel, rows: Rows, loss: Loss, most_tokens: int, teacher: PreTrainedModel | None
    ) -> None:
        self.loss, self.normaliser = loss, len(rows) if are_pairs(rows) else supervised_tokens(rows)
        self.longest = max(len(row.input_ids) for row in sides(rows))
        student = Scored(model, self.longest)
        self.teacher = None if teacher is None else Scored(teacher, self.longest)
        self.packed = student.packs and (self.teacher is None or self.teacher.packs)
        self.batches = [batch.to(student.device) for batch in micro_batches(rows, most_tokens, packed=self.packed)]
        if "reference_logprobs" in needs_of(loss):
            with self._as_packed(student):
                self.batches = [replace(batch, reference=student.logprobs(batch)) for batch in self.batches]

    @torch.no_grad()
    def measure(self, model: PreTrainedModel) -> float:
        """The mean loss over all supervised tokens of the rows, or over the pairs."""
        model.train(False)
        student, total = Scored(model, self.longest), 0.0
        for kept in self.batches:
            batch, scores = kept.to(student.device), None
            if self.teacher is not None:
                with self._as_packed(self.teacher):
                    scores = self.teacher.scores(batch.to(self.teacher.device))
            with self._as_packed(student):
                loss, _ = student(batch, Work(batch, self.loss, self.normaliser, scores))
            total += float(loss)
        return total

    def _as_packed(self, scored: Scored) -> AbstractContextManager[None]:
        """To be entered for the batches there are, whatever else the model could do."""
        return packing_attention(scored.inner) if self.packed else nullcontext()
