"""Whether a model's keys and values can be kept and written in place: tried on the model itself, not guessed.

Recurrent layers, compressed caches and attention kernels that take no ready-made mask cannot; such models are sampled
by `plain`, right but slower.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from agentdistill.policies.local.slots import Shape, Slots

LENGTH = 24
LONGEST = 8192
KINDS = {"full_attention", "sliding_attention"}


def longest_context(model: Any, tokenizer: Any) -> int:
    """The most tokens of a conversation: the model's positions, or what its tokenizer says where it counts none."""
    return int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or tokenizer.model_max_length)


@torch.inference_mode()
def probe(model: Any) -> Shape | None:
    """What one token leaves behind in `model`, or `None` if `Slots` would not give what a plain pass gives."""
    config = model.config.get_text_config()
    layer_types = getattr(config, "layer_types", None)
    kinds = list(dict.fromkeys(layer_types or ["full_attention"]))
    if set(kinds) - KINDS or config._attn_implementation not in ("sdpa", "eager"):
        return None
    longest = getattr(config, "max_position_embeddings", None) or LONGEST
    window = getattr(config, "sliding_window", None) or 0
    if window >= longest:
        window = 0  # it hides nothing
    windows = tuple((kind, window if not layer_types or kind == "sliding_attention" else 0) for kind in kinds)
    length = LENGTH + max(width for _, width in windows)  # far enough for a window to hide something
    if length > LONGEST:
        return None
    length = min(length, longest)
    luck = torch.Generator().manual_seed(0)
    ids = torch.randint(config.vocab_size, (length,), generator=luck).tolist()
    cache = DynamicCache(config=model.config)
    expected = model(
        input_ids=torch.tensor([ids], device=model.device), past_key_values=cache, use_cache=True, logits_to_keep=1
    ).logits[0, -1]
    shape = _shape_of(cache, windows)
    if shape is None or length < 4:
        return None
    try:
        found = _with_company(model, shape, ids)
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError):
        return None  # the model does something with its cache or mask that `Slots` has no answer to
    most = 1e-3 if expected.dtype in (torch.float32, torch.float64) else 5e-2
    off = (found.double() - expected.double()).abs().max()
    return shape if float(off) <= most * float(expected.abs().max()) else None


def _shape_of(cache: Any, windows: tuple[tuple[str, int], ...]) -> Shape | None:
    shapes = set()
    for layer in cache.layers:
        if type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer) or layer.keys is None:
            return None
        keys, values = layer.keys, layer.values
        shapes.add((keys.shape[1], keys.shape[3], values.shape[1], values.shape[3], keys.dtype, values.dtype))
    if len(shapes) != 1:
        return None
    ((heads, key, value_heads, value, dtype, value_dtype),) = shapes
    if (heads, dtype) != (value_heads, value_dtype):
        return None
    return Shape(len(cache.layers), heads, key, value, dtype, windows)


def _with_company(model: Any, shape: Shape, ids: list[int]) -> torch.Tensor:
    """The logits behind `ids`, fed in three parts beside a row of another length: what sampling does, in small."""
    slots = Slots(model, shape)
    slots.reserve(2, len(ids), 0, 0)
    half = len(ids) // 2
    slots.feed(0, [ids[half : half + 2], ids[:half]], [0, 0])
    slots.feed(0, [ids[:1], ids[half:-1]], [2, half])
    return slots.feed(0, [ids[:1], ids[-1:]], [3, len(ids) - 1])[1]
