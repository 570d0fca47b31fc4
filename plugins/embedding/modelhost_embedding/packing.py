"""The texts of a step end to end in one row, so that no padding is computed.

Each text attends to itself alone, has positions of its own and becomes a vector of its own: what FlashAttention's functions for
variable lengths do on a GPU, for any model that takes its attention from Transformers' `AttentionInterface`. Families count
positions in two ways, and some have parts that look over the bounds, so a model is packed only after it was tried.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers.sentence_transformer.modules import Transformer
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from modelhost_embedding.batches import Piece, Row
from modelhost_embedding.sizes import unit

NAME = "modelhost_packed"
SAME = 1e-4
"""How far a number of a unit vector may be from what it is without packing. Chosen, because the order of sums changes less in
float32, another model's positions change more, and cosines stay above 0.9999."""
Ids = NDArray[np.int64]
Features = dict[str, Any]


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    cu_seq_lens_q: torch.Tensor | None = None,
    **settings: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each text of a row; without their bounds this is Transformers' `sdpa`.

    A mask tells by their distance which tokens of the row see each other (order, sliding windows), so each text's is a square on
    its diagonal.
    """
    if cu_seq_lens_q is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
    attended = []
    for start, end in pairwise(cu_seq_lens_q.tolist()):
        own = slice(start, end)
        mask = None if attention_mask is None else attention_mask[..., own, own]
        states = (query[:, :, own], key[:, :, own], value[:, :, own])
        attended.append(sdpa_attention_forward(module, *states, mask, **settings)[0])
    return torch.cat(attended, dim=1), None


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)


def _from_zero(ids: Ids, padding: int) -> Ids:
    return np.arange(len(ids))


def _after_padding(ids: Ids, padding: int) -> Ids:
    """Count as RoBERTa and its kin do (`create_position_ids_from_input_ids`): padding's own number is that of no position."""
    real = (ids != padding).astype(np.int64)
    positions: Ids = real.cumsum() * real + padding
    return positions


class Packing:
    """How texts of one model become a row."""

    def __init__(self, positions: Callable[[Ids, int], Ids], padding: int) -> None:
        """Take how positions are counted, and the number of the token for padding."""
        self._positions = positions
        self._padding = padding

    def features(self, pieces: Sequence[Piece]) -> Features:
        """Return what the model reads of pieces; by the bounds in it sentence-transformers pools each by itself."""
        ids = [np.array(piece.tokens, dtype=np.int64) for piece in pieces]
        return {
            "input_ids": torch.from_numpy(np.concatenate(ids)[None]),
            "position_ids": torch.from_numpy(np.concatenate([self._positions(own, self._padding) for own in ids])[None]),
            "cu_seq_lens_q": torch.tensor([0, *accumulate(map(len, ids))]),
        }


def find_packing(
    transformer: Transformer, compute: Callable[[Features], Sequence[Row]], expected: Mapping[Piece, Row], padding: int
) -> Packing | None:
    """Return the packing with which `compute` makes the expected vectors of pieces, and let the transformer attend by it.

    None where there is no such packing.
    """
    usual = transformer.config._attn_implementation
    if usual != "sdpa":
        return None
    transformer.model.set_attn_implementation(NAME)
    for packing in (Packing(_from_zero, padding), Packing(_after_padding, padding)):
        if _differ(packing, compute, expected) <= SAME:
            return packing
    transformer.model.set_attn_implementation(usual)
    return None


def _differ(packing: Packing, compute: Callable[[Features], Sequence[Row]], expected: Mapping[Piece, Row]) -> float:
    """Return the largest difference of unit vectors, infinity where there are none to compare."""
    try:
        found = compute(packing.features(list(expected)))
    except Exception:  # what cannot be packed has errors of its own in each part of each family
        return math.inf
    if len(found) != len(expected):
        return math.inf
    return float(np.abs(_units(found) - _units(list(expected.values()))).max())


def _units(rows: Sequence[Row]) -> Row:
    return unit(np.stack(rows), len(rows[0]))
