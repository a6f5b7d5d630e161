"""Learning from pairs: of two ways to go on from one state, the better one is to become likelier than the other."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from agentdistill.errors import UsageError
from agentdistill.losses.base import LossInputs, LossOutput, known, needs, token_logprobs
from agentdistill.losses.closed import from_logprobs


def _from_logprobs(
    inputs: LossInputs,
    now: torch.Tensor,
    *,
    beta: float = 0.1,
    length_normalised: bool = False,
    reference_free: bool = False,
    anchor: float = 0.0,
) -> LossOutput:
    if not inputs.paired or len(inputs.input_ids) % 2:
        raise UsageError("dpo learns from preference pairs, and these rows are none")
    wanted = inputs.loss_mask[:, 1:]
    gained = now
    if not reference_free:
        if inputs.reference_logprobs is None:
            raise UsageError("dpo needs the log-probabilities of the student before it was trained")
        reference = known(inputs.reference_logprobs, "log-probability under the reference", inputs)
        gained = now - reference.to(now.dtype)
    weights = inputs.weights[:, 1:][wanted].to(now.dtype)
    row = torch.arange(len(wanted), device=wanted.device)[:, None].expand_as(wanted)[wanted]
    nothing = torch.zeros(len(wanted), dtype=now.dtype, device=now.device)
    tokens = nothing.index_add(0, row, torch.ones_like(now)).clamp_min(1)
    score = nothing.index_add(0, row, weights * gained)
    if length_normalised:
        score = score / tokens
    margin = beta * (score[0::2] - score[1::2])
    each = -torch.nn.functional.logsigmoid(margin)
    if anchor:
        said = nothing.index_add(0, row, weights * now) / tokens
        each = each - anchor * said[0::2]
    metrics = {
        "accuracy": float((margin > 0).sum()) / inputs.normaliser,
        "margin": float(margin.detach().sum()) / inputs.normaliser,
    }
    return LossOutput(each.sum() / inputs.normaliser, metrics)


@from_logprobs(_from_logprobs)
@needs("pairs", "reference_logprobs", unless={"reference_free": "reference_logprobs"})
def dpo(
    inputs: LossInputs,
    *,
    beta: Annotated[float, Field(gt=0)] = 0.1,
    length_normalised: bool = False,
    reference_free: bool = False,
    anchor: Annotated[float, Field(ge=0)] = 0.0,
) -> LossOutput:
    """Direct preference optimisation (2305.18290): rows 2i chosen, 2i + 1 rejected; a sum over pairs / normaliser.

    A pair's loss is -ln sigmoid(beta x (s_chosen - s_rejected)) + anchor x (-ln p(chosen) / its tokens), where s of a
    row is the sum over its tokens that carry loss of weight x (ln p_student - ln p_reference).

    Args:
        inputs: of pairs.
        beta: how steep.
        length_normalised: s is divided by the row's tokens that carry loss (Tulu 3, 2411.15124, section 5).
        reference_free: ln p_reference counts as 0, and none is computed; wants an anchor (Agentic-DPO 2607.10601,
            whose s is not length-normalised; with both, s is SimPO's, 2405.14734).
        anchor: weight of the supervised term on the chosen row, in nats a token (2404.19733, section 2).

    Raises:
        UsageError: the rows are not pairs, or the reference's log-probabilities are missing.
    """
    now = token_logprobs(inputs.logits, inputs.input_ids, inputs.loss_mask)
    return _from_logprobs(
        inputs,
        now,
        beta=beta,
        length_normalised=length_normalised,
        reference_free=reference_free,
        anchor=anchor,
    )
