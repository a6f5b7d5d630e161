"""From hidden states to the loss: tokens that carry loss, some at a time, and gradients by formula where there is one.

A head projects each hidden state onto the vocabulary, which makes it the largest tensor of all. So only the states
that predict a token with loss are projected, a chunk of them at a time; each chunk's loss and gradients are found while
its logits are there, and the logits are gone before the next chunk's come (the idea is that of Liger kernels,
2410.10989). Memory for logits does not grow with the sequence. The result is that of the dense computation.

What a loss lets us do (`agentdistill.losses.closed`): a closed form gives the gradient on the logits; without one it is
found by differentiating the loss from the logits on; a loss from log-probabilities is found between two passes over
the head. A loss that is not declared to be one of single tokens gets whole rows (pairs, where it learns from pairs).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from agentdistill.losses import Loss, LossInputs, LossOutput, Tokens
from agentdistill.losses.closed import ClosedForm, closed_form_of, from_logprobs_of, is_per_token
from agentdistill.training.packing import Batch

CHUNK_BYTES = 2**25
"""About how large the logits of one chunk are: enough to keep the matrix products busy."""

CACHE_BYTES = 2**21
"""About how large the logits are that a formula goes over at a time on a CPU: several times each, in its cache."""

Logits = Callable[[slice], torch.Tensor]
"""The logits [tokens, vocabulary] of some of a batch's tokens that carry loss: a new tensor, without gradient."""

Emit = Callable[[slice, torch.Tensor], None]
"""Takes the gradient of the loss on these logits."""


@dataclass(frozen=True)
class Head:
    """What projects hidden states onto the vocabulary: a plain matrix, and a bias or none."""

    weight: torch.Tensor
    bias: torch.Tensor | None = None

    def logits_of(self, hidden: torch.Tensor) -> Logits:
        """The logits of `hidden` [tokens, width], in single precision at least."""
        kind = _computed_in(hidden)
        weight = self.weight.to(kind)
        bias = None if self.bias is None else self.bias.to(kind)

        def logits(some: slice) -> torch.Tensor:
            return _single(torch.nn.functional.linear(hidden[some].to(kind), weight, bias))

        return logits


@dataclass(frozen=True)
class Work:
    """The loss of a batch, to be found from its logits.

    Attributes:
        batch: whose tokens.
        loss: which.
        normaliser: what a sum over its tokens (or pairs) is divided by.
        teacher: the teacher's logits, for losses that need them.
    """

    batch: Batch
    loss: Loss
    normaliser: float
    teacher: Logits | None = None

    def run(self, logits: Logits, vocabulary: int, emit: Emit | None) -> LossOutput:
        """The loss [no dimension] without gradient, which goes to `emit`, if anybody wants it."""
        batch = self.batch
        most = _most(vocabulary)
        form, through_logprobs = closed_form_of(self.loss), from_logprobs_of(self.loss)
        if through_logprobs is not None:
            return self._from_logprobs(through_logprobs, logits, list(_slices(len(batch.said), most)), emit)
        total, metrics = torch.zeros((), device=batch.said.device), Counter[str]()
        single = is_per_token(self.loss)
        pieces = ((some, None) for some in _slices(len(batch.said), most)) if single else _of_rows(batch, most)
        for some, rows in pieces:
            found = logits(some)
            if form is not None:
                said, gradient = _by_formula(form, self._tokens(some, found))
            else:
                said, gradient = self._differentiated(some, rows, found)
            if emit is not None:
                emit(some, gradient)
            total = total + said.loss.detach()
            metrics.update(said.metrics)
            del found, gradient
        return LossOutput(total, dict(metrics))

    def _tokens(self, some: slice, logits: torch.Tensor) -> Tokens:
        batch = self.batch
        return Tokens(
            logits=logits,
            ids=batch.said[some],
            weights=batch.weights[some],
            by_teacher=batch.by_teacher[some],
            normaliser=self.normaliser,
            teacher_logits=None if self.teacher is None else self.teacher(some).to(logits.dtype),
            teacher_top_ids=None if batch.top_ids is None else batch.top_ids[some],
            teacher_top_logprobs=None if batch.top_logprobs is None else batch.top_logprobs[some],
        )

    def _differentiated(self, some: slice, rows: range | None, logits: torch.Tensor) -> tuple[LossOutput, torch.Tensor]:
        with torch.enable_grad():
            leaf = logits.requires_grad_()
            said = self.loss(self._inputs(some, rows, leaf))
            (gradient,) = torch.autograd.grad(said.loss, leaf)
        return said, gradient

    def _from_logprobs(
        self, form: Callable[..., LossOutput], logits: Logits, chunks: list[slice], emit: Emit | None
    ) -> LossOutput:
        """Twice over the head, unless one chunk holds all: the gradient of each token depends on the others'."""
        said, kept = self.batch.said, None
        now = torch.empty(len(said), dtype=torch.get_default_dtype(), device=said.device)
        for some in chunks:
            found = logits(some)
            now = now.to(found.dtype)
            now[some] = _logprobs(found, said[some])
            kept = found if len(chunks) == 1 else None
        with torch.enable_grad():
            leaf = now.requires_grad_()
            nothing = now.new_empty(len(said), 0)
            output = form(self._inputs(slice(0, len(said)), range(len(self.batch.rows)), nothing), leaf)
            (wanted,) = torch.autograd.grad(output.loss, leaf)
        for some in chunks if emit is not None else ():
            found = logits(some) if kept is None else kept
            found = found.sub_(found.logsumexp(dim=-1, keepdim=True)).exp_().mul_(-wanted[some, None])
            emit(some, found.scatter_add_(-1, said[some, None], wanted[some, None]))  # type: ignore[misc]
        return LossOutput(output.loss.detach(), output.metrics)

    def _inputs(self, some: slice, rows: range | None, logits: torch.Tensor) -> LossInputs:
        """These tokens as a loss meets them, what carries no loss left out: those of `rows`; or all in one row."""
        batch = self.batch
        row = torch.zeros_like(batch.row[some]) if rows is None else batch.row[some] - rows.start
        count = 1 if rows is None else len(rows)
        place = torch.arange(len(row), device=row.device)
        counts = torch.bincount(row, minlength=count)
        place = place - (counts.cumsum(0) - counts)[row] + 1  # the first place of a row is predicted by nothing
        width = int(counts.max()) + 1

        def laid(values: torch.Tensor, empty: float) -> torch.Tensor:
            whole = values.new_full((count, width, *values.shape[1:]), empty)
            return whole.index_put((row, place), values)

        mask = laid(torch.ones_like(row, dtype=torch.bool), False)
        dense = logits.new_zeros((count, width, logits.shape[-1])).index_put((row, place - 1), logits)
        teacher = None
        if self.teacher is not None:
            with torch.no_grad():  # a teacher's weights may ask for gradients, and a loss is promised none
                given = self.teacher(some)
            teacher = given.new_zeros((count, width, given.shape[-1])).index_put((row, place - 1), given)
        return LossInputs(
            logits=dense,
            input_ids=laid(batch.said[some], 0),
            loss_mask=mask,
            normaliser=self.normaliser,
            weights=laid(batch.weights[some], 1.0),
            logprobs=laid(batch.logprobs[some], math.nan),
            teacher_logprobs=laid(batch.teacher_logprobs[some], math.nan),
            by_teacher=laid(batch.by_teacher[some], False),
            teacher_logits=teacher,
            teacher_top_ids=None if batch.top_ids is None else laid(batch.top_ids[some], 0),
            teacher_top_logprobs=None if batch.top_logprobs is None else laid(batch.top_logprobs[some], math.nan),
            reference_logprobs=None if batch.reference is None else laid(batch.reference[some], math.nan),
            paired=batch.paired,
        )


def project(hidden: torch.Tensor, head: Head, work: Work) -> LossOutput:
    """The loss of a batch, differentiable in `hidden` [supervised, width] and in the head."""
    told: dict[str, float] = {}
    loss = _Projection.apply(hidden, head.weight, head.bias, work, told)  # type: ignore[no-untyped-call]
    return LossOutput(loss, told)


def from_logits(logits: torch.Tensor, work: Work) -> LossOutput:
    """The loss of a batch, differentiable in `logits` [supervised, vocabulary], which are there anyhow."""
    told: dict[str, float] = {}
    loss = _FromLogits.apply(logits, work, told)  # type: ignore[no-untyped-call]
    return LossOutput(loss, told)


def logprobs_of(logits: Logits, said: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """Natural log-probabilities [tokens] of what was said, without gradient."""
    return torch.cat([_logprobs(logits(some), said[some]) for some in _slices(len(said), _most(vocabulary))])


def _logprobs(logits: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
    return logits.gather(-1, said[:, None])[:, 0] - logits.logsumexp(dim=-1)


def _most(vocabulary: int) -> int:
    """How many tokens are in a chunk."""
    return max(16, CHUNK_BYTES // (4 * vocabulary))


class _Projection(torch.autograd.Function):
    """Finds the gradients on the way forward, while the logits are there; the way back only hands them out."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        work: Work,
        told: dict[str, float],
    ) -> torch.Tensor:
        kind = _wide(_computed_in(hidden))
        of_hidden, of_weight, of_bias = ctx.needs_input_grad[:3]
        on_hidden = torch.empty_like(hidden, dtype=_wide(hidden.dtype)) if of_hidden else None
        on_weight = torch.zeros_like(weight, dtype=kind) if of_weight else None
        on_bias = torch.zeros_like(bias, dtype=_wide(bias.dtype)) if of_bias and bias is not None else None
        projecting, states = weight.to(kind), hidden.to(kind)

        def emit(some: slice, gradient: torch.Tensor) -> None:
            gradient = gradient.to(kind)
            with torch.autocast(hidden.device.type, enabled=False):  # all of it is of one kind already
                if on_hidden is not None:
                    on_hidden[some] = (gradient @ projecting).to(on_hidden.dtype)
                if on_weight is not None:
                    on_weight.addmm_(gradient.mT, states[some])
                if on_bias is not None:
                    on_bias.add_(gradient.sum(dim=0))

        wanted = emit if any((of_hidden, of_weight, of_bias)) else None
        said = work.run(Head(projecting, bias).logits_of(states), len(weight), wanted)
        told.update(said.metrics)
        ctx.found = (on_hidden, on_weight, on_bias)
        ctx.kinds = (hidden.dtype, weight.dtype, None if bias is None else bias.dtype)
        return said.loss

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return (*_times(ctx, upstream), None, None)


class _FromLogits(torch.autograd.Function):
    """The same where the model has made the logits itself."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, work: Work, told: dict[str, float]) -> torch.Tensor:
        on_logits = torch.empty_like(logits, dtype=_wide(logits.dtype)) if ctx.needs_input_grad[0] else None

        def emit(some: slice, gradient: torch.Tensor) -> None:
            if on_logits is not None:
                on_logits[some] = gradient.to(on_logits.dtype)

        said = work.run(
            lambda some: _single(logits[some].clone()), logits.shape[-1], emit if on_logits is not None else None
        )
        told.update(said.metrics)
        ctx.found, ctx.kinds = (on_logits,), (logits.dtype,)
        return said.loss

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return (*_times(ctx, upstream), None, None)


def _times(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    """What was found on the way forward, times the gradient that comes from above; it is given away once."""
    found, ctx.found = ctx.found, None
    if float(upstream) != 1:
        for each in found:
            if each is not None:
                each.mul_(upstream.to(each.dtype))
    return tuple(None if each is None else each.to(kind) for each, kind in zip(found, ctx.kinds, strict=True))


def _by_formula(form: ClosedForm, tokens: Tokens) -> tuple[LossOutput, torch.Tensor]:
    """What a closed form says of these tokens; its gradient is written over their logits."""
    count, vocabulary = tokens.logits.shape
    most = max(1, CACHE_BYTES // (4 * vocabulary)) if tokens.logits.device.type == "cpu" else max(1, count)
    total, metrics = tokens.logits.new_zeros(()), Counter[str]()
    for some in _slices(count, most):
        said, gradient = form(tokens.part(some))
        tokens.logits[some] = gradient
        total = total + said.loss
        metrics.update(said.metrics)
    return LossOutput(total, dict(metrics)), tokens.logits


def _slices(count: int, most: int) -> Iterator[slice]:
    """All tokens, in pieces of about one size."""
    pieces = max(1, math.ceil(count / most))
    for at in range(pieces):
        yield slice(at * count // pieces, (at + 1) * count // pieces)


def _of_rows(batch: Batch, most: int) -> Iterator[tuple[slice, range]]:
    """All tokens, in pieces of whole rows (pairs, where they are paired) with at most so many cells, if they can be."""
    unit = 2 if batch.paired else 1
    counts = torch.bincount(batch.row, minlength=len(batch.rows)).tolist()
    first, begin, stop, widest = 0, 0, 0, 0
    for row in range(0, len(counts), unit):
        width = max(counts[row : row + unit]) + 1
        if row > first and (row + unit - first) * max(widest, width) > most:
            yield slice(begin, stop), range(first, row)
            first, begin, widest = row, stop, 0
        widest = max(widest, width)
        stop += sum(counts[row : row + unit])
    yield slice(begin, stop), range(first, len(counts))


def _computed_in(hidden: torch.Tensor) -> torch.dtype:
    """What matrix products with `hidden` are computed in, autocast considered."""
    kind = hidden.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype


def _wide(kind: torch.dtype) -> torch.dtype:
    """What gradients are kept in until they are scaled, which is on the way back: float16 would lose small ones."""
    return torch.float32 if kind == torch.float16 else kind


def _single(values: torch.Tensor) -> torch.Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))  # half precision cannot hold a sum
