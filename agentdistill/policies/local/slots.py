"""Keys and values of the live conversations, written in place: one row each, from column 0, whatever their lengths.

A `DynamicCache` is copied whole for every token, and all its rows grow together. Here a row has a length of its own, so
that conversations can join and leave, and what was kept of one can be copied in. The attention mask says what each
query may see, and is handed to the model ready-made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Cache

ROUND = 64  # columns are made in steps of so many
ALIGN = 8  # attention kernels of GPUs want masks of such widths


@dataclass(frozen=True)
class Shape:
    """What one token leaves behind in a model: its keys and values, alike in all layers.

    Attributes:
        layers: how many hold keys and values.
        heads: of keys and values.
        key: width of a key.
        value: width of a value.
        dtype: of both.
        windows: kinds of attention layers by their name in the model's config, each with its sliding window (0: none).
            One kind is handed to the model as a mask; several as a dictionary of masks.
    """

    layers: int
    heads: int
    key: int
    value: int
    dtype: torch.dtype
    windows: tuple[tuple[str, int], ...]

    @property
    def bytes(self) -> int:
        """Of one token."""
        return self.layers * self.heads * (self.key + self.value) * self.dtype.itemsize


class Slots(Cache):
    """Rows of keys and values; `feed` runs the model over new tokens of some of them.

    Keys are [layers, rows, columns, heads, key], values likewise. The last column is scrap: padding is written there.
    """

    def __init__(self, model: Any, shape: Shape) -> None:
        super().__init__(layers=[])
        self.model = model
        self.shape = shape
        self.clear()

    @property
    def bytes(self) -> int:
        """Of all rows, used or not."""
        return self.rows * self.columns * self.shape.bytes

    def bytes_of(self, rows: int, length: int) -> int:
        """What so many rows of this many tokens would take."""
        return rows * _columns(length) * self.shape.bytes

    def clear(self) -> None:
        """Give everything back."""
        self._allocate(0, 0)

    def reserve(self, rows: int, length: int, live: int, most_bytes: int) -> None:
        """Make room for `rows` rows of `length` tokens; the first `live` rows keep what they hold.

        Neither number shrinks when the other grows, unless that would take more than `most_bytes`.
        """
        columns = _columns(length)
        if rows <= self.rows and columns <= self.columns:
            return
        larger = max(rows, self.rows), max(columns, self.columns)
        if larger[0] * larger[1] * self.shape.bytes <= most_bytes:
            rows, columns = larger
        if live == 0:
            self.clear()  # before the new ones are made, not after
        keys, values, held = self.keys, self.values, min(self.columns, columns) - 1
        self._allocate(rows, columns)
        if live:
            self.keys[:, :live, :held] = keys[:, :live, :held]
            self.values[:, :live, :held] = values[:, :live, :held]

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of one row over another."""
        self.keys[:, target, :length] = self.keys[:, source, :length]
        self.values[:, target, :length] = self.values[:, source, :length]

    def write(self, row: int, start: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Put keys and values [layers, tokens, heads, width] into a row from token `start` on."""
        self.keys[:, row, start : start + keys.shape[1]] = keys
        self.values[:, row, start : start + keys.shape[1]] = values

    def read(self, row: int, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Copies of a row's keys and values of the tokens `start` to `stop`: [layers, tokens, heads, width]."""
        return self.keys[:, row, start:stop].clone(), self.values[:, row, start:stop].clone()

    def feed(self, first: int, tokens: Sequence[Sequence[int]], starts: Sequence[int]) -> torch.Tensor:
        """Run the model over new tokens of consecutive rows.

        Args:
            first: the first of the rows.
            tokens: new ids of each row, at least one; shorter ones are padded on the left.
            starts: how many tokens each row holds already.

        Returns:
            The logits behind the last new token of each row: [rows, vocabulary].
        """
        count, longest = len(tokens), max(map(len, tokens))
        device = self.model.device
        ids = torch.tensor([[0] * (longest - len(new)) + list(new) for new in tokens], device=device)
        ends = torch.tensor([start + len(new) for start, new in zip(starts, tokens, strict=True)], device=device)
        begins = torch.tensor(starts, device=device)[:, None]
        positions = ends[:, None] + torch.arange(-longest, 0, device=device)
        rows = torch.arange(first, first + count, device=device)[:, None]
        places = torch.where(positions >= begins, positions, self.columns - 1)
        self._places = (rows * self.columns + places).flatten()
        self._first, self._last = first, first + count
        held = max(start + len(new) for start, new in zip(starts, tokens, strict=True))
        self._held = min(self.columns, -(-held // ALIGN) * ALIGN)
        positions = positions.clamp(min=0)  # padding sees the first token, and nobody sees padding
        output = self.model(
            input_ids=ids,
            attention_mask=self._masks(positions),
            position_ids=positions,
            past_key_values=self,
            logits_to_keep=1,
            use_cache=True,
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The model's side: store keys and values [rows, heads, new, width], return those of all tokens held."""
        seen = []
        for kept, new in ((self.keys[layer_idx], key_states), (self.values[layer_idx], value_states)):
            flat = new.transpose(1, 2).reshape(-1, *kept.shape[2:])
            kept.view(-1, *kept.shape[2:]).index_copy_(0, self._places, flat)
            seen.append(kept[self._first : self._last, : self._held].transpose(1, 2))
        return seen[0], seen[1]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """The longest row's tokens, the new ones not counted as far as a model can tell: positions are handed to it."""
        return 0

    def _masks(self, positions: torch.Tensor) -> Any:
        """What each query may see, added to the scores: [rows, 1, queries, held] for each kind of layer."""
        columns = torch.arange(self._held, device=positions.device)
        hidden = torch.finfo(self.shape.dtype).min
        masks = {}
        for kind, window in self.shape.windows:
            seen = columns <= positions[..., None]
            if window:
                seen &= columns > positions[..., None] - window
            mask = torch.zeros(seen.shape, dtype=self.shape.dtype, device=positions.device)
            masks[kind] = mask.masked_fill_(~seen, hidden)[:, None]
        return masks if len(masks) > 1 else next(iter(masks.values()))

    def _allocate(self, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns
        shape = (self.shape.layers, rows, columns, self.shape.heads)
        device = self.model.device
        self.keys = torch.zeros(*shape, self.shape.key, dtype=self.shape.dtype, device=device)
        self.values = torch.zeros(*shape, self.shape.value, dtype=self.shape.dtype, device=device)


def _columns(length: int) -> int:
    """Columns of rows that hold `length` tokens: one for scrap, and rounded."""
    return -(-(length + 1) // ROUND) * ROUND
