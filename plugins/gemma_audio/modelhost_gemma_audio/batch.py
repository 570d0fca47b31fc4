"""Rows that are computed together: their cache, and which of its columns count."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache


class Batch:
    """Keys and values of several rows, each flush with the right edge; what is left of a shorter one is masked.

    Rows come by `join` and go by `keep`, at any step. Distances between columns are distances between tokens, so that
    sliding windows stay right; positions are counted by row.
    """

    def __init__(self, cache: DynamicCache, mask: Tensor) -> None:
        """Take rows as a prompt's forward pass left them; `mask` is rows × columns, 1 where there is a token."""
        self.cache = cache
        self.mask = mask

    @property
    def columns(self) -> int:
        """Return the length of the longest row, in tokens."""
        return self.mask.shape[1]

    def grow(self) -> tuple[Tensor, Tensor]:
        """Add a column for one token a row; returns the mask, and the position of each new token."""
        self.mask = pad(self.mask, (0, 1), value=1)
        return self.mask, self.mask.sum(1, keepdim=True) - 1

    def join(self, other: "Batch") -> None:
        """Append the rows of another batch."""
        columns = max(self.columns, other.columns)
        mine: Any
        theirs: Any
        for mine, theirs in zip(self.cache.layers, other.cache.layers, strict=True):
            if theirs.keys is not None:  # layers that share another's have none
                stored = max(mine.keys.shape[-2], theirs.keys.shape[-2])
                mine.keys = torch.cat([_widened(mine.keys, stored), _widened(theirs.keys, stored)])
                mine.values = torch.cat([_widened(mine.values, stored), _widened(theirs.values, stored)])
                _set_length(mine, columns)
        self.mask = torch.cat([pad(batch.mask, (columns - batch.columns, 0)) for batch in (self, other)])

    def keep(self, rows: list[int], columns: int) -> None:
        """Drop all other rows; the longest that stays has `columns` tokens."""
        chosen = torch.tensor(rows, device=self.mask.device)
        layer: Any
        for layer in self.cache.layers:
            if layer.keys is not None:
                stored = min(layer.keys.shape[-2], columns)
                layer.keys = layer.keys[chosen, :, -stored:]
                layer.values = layer.values[chosen, :, -stored:]
                _set_length(layer, columns)
        self.mask = self.mask[chosen, -columns:]


def _widened(states: Tensor, columns: int) -> Tensor:
    """Pad keys or values with zeros on the left: rows × heads × columns × size."""
    return pad(states, (0, 0, columns - states.shape[-2], 0))


def _set_length(layer: Any, columns: int) -> None:
    """Set how many columns there are in a sliding window's layer, which stores fewer."""
    if layer.is_sliding:
        layer.cumulative_length = columns
