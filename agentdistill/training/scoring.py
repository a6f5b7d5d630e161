"""A model as the trainer calls it: from a batch to hidden states where tokens with loss are predicted, and to the loss.

Not every model can be given a packed row or a head of its own. Whether one can is not read off its name but tried: a
small forest must come to the states that its rows come to one by one, and the head must make the model's own logits.
What cannot be done is not done: rows are padded instead, and logits are taken from the model as it makes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from agentdistill.records import Segment
from agentdistill.training.attention import packing_attention
from agentdistill.training.packing import Batch, micro_batches
from agentdistill.training.projection import Head, Logits, Work, from_logits, logprobs_of, project

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_KINDS = {"full_attention", "sliding_attention"}
"""What layers may be; others, such as attention within chunks, show only on long rows what they are."""

_LARGE = 1000.0

_REFUSALS = (TypeError, ValueError, RuntimeError, NotImplementedError, AttributeError, IndexError, KeyError)
"""How models say that they cannot do what is tried."""


class Scored(torch.nn.Module):
    """A causal language model (or a PEFT model around one) that is called with batches.

    Args:
        model: the model.
        longest: tokens of the longest row it will be given: windows of attention that are wider need no trying.

    Attributes:
        model, longest: as they were given.
        packs: whether it computes packed rows as it does single ones.
        plain: whether its logits are a matrix times its last hidden states.
    """

    def __init__(self, model: PreTrainedModel, longest: int = 0) -> None:
        super().__init__()
        self.model = model
        self.longest = longest
        was = model.training
        model.train(False)
        with torch.no_grad():
            self.plain = self._is_plain()
            self.packs = self._packs(longest)
        model.train(was)

    @property
    def inner(self) -> PreTrainedModel:
        """The model itself, where adapters are around it."""
        unwrap: Any = getattr(self.model, "get_base_model", None)
        inner: PreTrainedModel = unwrap() if unwrap else self.model
        return inner

    @property
    def device(self) -> torch.device:
        """Where batches have to be."""
        return self.inner.device

    def packing(self) -> AbstractContextManager[None]:
        """To be entered while batches are packed."""
        return packing_attention(self.inner) if self.packs else nullcontext()

    def forward(self, batch: Batch, work: Work) -> tuple[torch.Tensor, Mapping[str, float]]:
        """The loss of a batch, differentiable in the model's parameters, and what it says besides."""
        said = project(self.hidden(batch), self.head(), work) if self.plain else from_logits(self.logits(batch), work)
        return said.loss, said.metrics

    def scores(self, batch: Batch) -> Logits:
        """The logits of a batch's tokens that carry loss, some at a time, without gradient."""
        with torch.no_grad():
            if self.plain:
                return self.head().logits_of(self.hidden(batch))
            found = self.logits(batch)
        return lambda some: found[some].clone()

    def logprobs(self, batch: Batch) -> torch.Tensor:
        """Natural log-probabilities [supervised] of the tokens that carry loss, without gradient."""
        with torch.no_grad():
            vocabulary: int = self.inner.config.get_text_config().vocab_size
            return logprobs_of(self.scores(batch), batch.said, vocabulary)

    def head(self) -> Head:
        """The matrix that makes logits."""
        linear = _head_of(self.inner)
        return Head(linear.weight, linear.bias)

    def hidden(self, batch: Batch) -> torch.Tensor:
        """The last hidden states [supervised, width] where tokens that carry loss are predicted."""
        output: Any = self.inner.base_model(**_arguments(batch))
        states: torch.Tensor = output.last_hidden_state
        return states.flatten(0, 1).index_select(0, batch.predictors)

    def logits(self, batch: Batch) -> torch.Tensor:
        """The model's own logits [supervised, vocabulary] there."""
        if batch.forest is None:
            output: Any = self.inner(**_arguments(batch))
            logits: torch.Tensor = output.logits
            return logits.flatten(0, 1).index_select(0, batch.predictors)
        places, back = torch.unique(batch.predictors, return_inverse=True)
        output = self.inner(**_arguments(batch), logits_to_keep=places)
        logits = output.logits
        return logits[0].index_select(0, back)

    def _is_plain(self) -> bool:
        """Whether nothing is done with what the head makes. A cap on logits shows only where they are large."""
        head = _head_of(self.inner)
        if type(head) is not torch.nn.Linear:
            return False
        (batch,) = micro_batches(_probes(self.inner, 16)[:1], 1, packed=False)
        batch = batch.to(self.device)
        hook = head.register_forward_hook(lambda module, given, made: made * _LARGE)
        try:
            own = self.head().logits_of(self.hidden(batch))(slice(None)) * _LARGE
            return _close(own, self.logits(batch))
        except _REFUSALS:
            return False
        finally:
            hook.remove()

    def _packs(self, longest: int) -> bool:
        """Whether a packed row comes to what its rows come to one by one, beyond windows of attention too."""
        config: Any = self.inner.config.get_text_config()
        if not set(getattr(config, "layer_types", None) or ()) <= _KINDS:
            return False
        window = getattr(config, "sliding_window", None) or 0
        (packed,) = micro_batches(_probes(self.inner, 16 + (window if window < longest else 0)), 10**6)
        see = self.hidden if self.plain else self.logits
        alone = [see(each.to(self.device)) for row in packed.rows for each in micro_batches([row], 1, packed=False)]
        try:
            with packing_attention(self.inner):
                return _close(see(packed.to(self.device)), torch.cat(alone))
        except _REFUSALS:
            return False


def _head_of(model: PreTrainedModel) -> Any:
    return model.get_output_embeddings()  # type: ignore[no-untyped-call]


def _arguments(batch: Batch) -> dict[str, Any]:
    """What a model is called with. Rows padded on the right need no mask: causal attention never looks there."""
    arguments: dict[str, Any] = {"input_ids": batch.ids, "use_cache": False}
    if batch.forest is not None:
        arguments |= {"position_ids": batch.positions, "forest": batch.forest}
    return arguments


def _probes(model: PreTrainedModel, length: int) -> list[Segment]:
    """Rows with what trees have: a common beginning, a common middle of some of them, ends of different length."""
    config: Any = model.config.get_text_config()
    luck = np.random.default_rng(0)

    def some(count: int) -> tuple[int, ...]:
        return tuple(luck.integers(0, config.vocab_size, count).tolist())

    root, middle = some(length), some(12)
    ways = (root + middle + some(9), root + middle + some(20), root + some(11), some(10))
    return [
        Segment(
            id=str(index),
            kind="clean",
            trajectory_id="probe",
            input_ids=ids,
            loss_mask=(False, *(place % 3 > 0 for place in range(1, len(ids)))),
        )
        for index, ids in enumerate(ways)
    ]


def _close(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Whether two results differ by rounding only."""
    allowed = 1e-4 if wanted.dtype in (torch.float32, torch.float64) else 4e-2
    scale = float(wanted.abs().max())
    return found.shape == wanted.shape and float((found - wanted).abs().max()) <= allowed * max(scale, 1e-6)
