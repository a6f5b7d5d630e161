"""Losses as functions of named, shaped tensors."""

from __future__ import annotations

import torch


def masked_cross_entropy(
    logits: torch.Tensor, input_ids: torch.Tensor, loss_mask: torch.Tensor, normaliser: float
) -> torch.Tensor:
    """Next-token cross-entropy in nats, summed over the tokens that carry loss and divided by `normaliser`.

    Args:
        logits: [rows, length, vocabulary]; position t predicts token t + 1.
        input_ids: [rows, length] integer ids.
        loss_mask: [rows, length] bool; True where the token itself carries loss.
        normaliser: normally the number of supervised tokens of the whole optimiser step, over all micro-batches.

    Returns:
        A scalar. Rows and positions that are masked get exactly zero gradient.
    """
    wanted = loss_mask[:, 1:]
    predicted = logits[:, :-1][wanted]
    predicted = predicted.to(torch.promote_types(predicted.dtype, torch.float32))  # half precision cannot hold a sum
    return torch.nn.functional.cross_entropy(predicted, input_ids[:, 1:][wanted], reduction="sum") / normaliser
