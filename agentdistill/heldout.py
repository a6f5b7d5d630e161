"""The loss on rows that nobody learns from: measured as it is trained, without a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from agentdistill.batching import Rows, are_pairs, micro_batches, supervised_tokens
from agentdistill.losses import Loss
from agentdistill.training import Pool, _inputs, _Part, _references

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class HeldOut:
    """Rows that are set aside, what a loss says of them, and what the student thought of them at the beginning.

    Make it before training begins: losses with a reference compare with the student as it is then.
    """

    def __init__(
        self, model: PreTrainedModel, rows: Rows, loss: Loss, most_tokens: int, teacher: PreTrainedModel | None
    ) -> None:
        self.rows, self.loss, self.most_tokens, self.teacher = rows, loss, most_tokens, teacher
        self._references: Mapping[int, torch.Tensor] = _references(model, [Pool(rows, 1.0, loss)], most_tokens)

    @torch.no_grad()
    def measure(self, model: PreTrainedModel) -> float:
        """The mean loss over all supervised tokens of the rows, or over the pairs."""
        model.train(False)
        normaliser = len(self.rows) if are_pairs(self.rows) else supervised_tokens(self.rows)
        part, total = _Part(self.loss, self.rows, normaliser, 1.0), 0.0
        for batch in micro_batches(self.rows, self.most_tokens):
            output: Any = model(input_ids=batch.ids.to(model.device), use_cache=False)
            total += self.loss(_inputs(batch, output.logits, part, self.teacher, self._references)).loss.item()
        return total
