"""Attention over a packed row: each node of a forest sees itself and the nodes above it, with gradients through all.

It is registered with transformers under `NAME`, and does for each node what `sdpa` does for a whole row. There is no
mask over the whole row, so what is computed grows with what is seen, not with the square of all that lies there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from agentdistill.training.packing import Forest

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "agentdistill_forest"


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    forest: Forest | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers calls in each attention layer.

    Args:
        module: the layer.
        query: [1, heads, tokens, width].
        key: [1, key heads, tokens, width].
        value: like `key`.
        attention_mask: none is made for this kind of attention.
        forest: what the model was called with; without one, the tokens are one row.
        sliding_window: how many tokens back, itself included, a layer sees.
        others: scaling and dropout.

    Returns:
        [1, tokens, heads, width], and no weights.
    """
    length = query.shape[2]
    if forest is None:
        if sliding_window and length > sliding_window:
            raise ValueError("a row beyond the sliding window needs a forest")
        return sdpa_attention_forward(module, query, key, value, attention_mask, **others)
    lengths, device, said = forest.lengths, query.device, []
    queries, keys, values = (torch.split(each, lengths, dim=2) for each in (query, key, value))
    for index, node in enumerate(forest.nodes):
        seen = [*node.above, index]
        mask = None
        window = sliding_window if sliding_window and node.depth + lengths[index] > sliding_window else 0
        if node.above or window:
            mask = forest.mask(index, window, device)[None, None]
        own_keys = torch.cat([keys[each] for each in seen], dim=2) if node.above else keys[index]
        own_values = torch.cat([values[each] for each in seen], dim=2) if node.above else values[index]
        said.append(sdpa_attention_forward(module, queries[index], own_keys, own_values, mask, **others)[0])
    return torch.cat(said, dim=1), None


AttentionInterface.register(NAME, attend)  # a name of its own; models use it inside `packing_attention` only


@contextmanager
def packing_attention(model: PreTrainedModel) -> Iterator[None]:
    """While it lasts, the model's attention is `attend`.

    Raises:
        ValueError: the model's attention cannot be chosen.
    """
    before = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
