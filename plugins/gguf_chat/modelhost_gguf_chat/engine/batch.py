"""The tokens of one decode, in arrays that llama.cpp reads."""

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import llama_cpp
import numpy as np
from numpy.typing import NDArray


class Piece(NamedTuple):
    """Tokens of one sequence that go into a decode."""

    sequence: int
    position: int
    """Of the first one; those before it are in the cache."""
    tokens: Sequence[int]
    outputs: int
    """For how many of the last ones logits, or vectors, are wanted."""


class Batch:
    """Room for the tokens of a decode, filled by slices: in llama.cpp's own each number would take a call of ctypes."""

    def __init__(self, size: int) -> None:
        """Make room for so many tokens."""
        self._tokens = np.zeros(size, np.int32)
        self._positions = np.zeros(size, np.int32)
        self._sequences = np.zeros(size, np.int32)
        self._outputs = np.zeros(size, np.int8)
        self._ones = np.ones(size, np.int32)
        self._pointers = self._sequences.ctypes.data + self._sequences.itemsize * np.arange(size, dtype=np.uintp)
        field: Any = dict(llama_cpp.llama_batch._fields_)  # type: ignore[arg-type]  # pairs, though they might be triples

        def pointer(values: NDArray[Any], name: str) -> Any:
            return ctypes.cast(values.ctypes.data, field[name])

        self._batch = llama_cpp.llama_batch(
            n_tokens=0,
            token=pointer(self._tokens, "token"),
            pos=pointer(self._positions, "pos"),
            n_seq_id=pointer(self._ones, "n_seq_id"),
            seq_id=pointer(self._pointers, "seq_id"),
            logits=pointer(self._outputs, "logits"),
        )

    def of(self, pieces: Sequence[Piece]) -> llama_cpp.llama_batch:
        """Return llama.cpp's batch of these pieces; the next call changes it."""
        at = 0
        for piece in pieces:
            if len(piece.tokens) == 1:  # as of every answer: slices would cost it ten microseconds
                self._tokens[at], self._positions[at], self._sequences[at] = piece.tokens[0], piece.position, piece.sequence
                self._outputs[at] = piece.outputs
                at += 1
                continue
            end = at + len(piece.tokens)
            self._tokens[at:end] = piece.tokens
            self._positions[at:end] = range(piece.position, piece.position + end - at)
            self._sequences[at:end] = piece.sequence
            self._outputs[at : end - piece.outputs] = 0
            self._outputs[end - piece.outputs : end] = 1
            at = end
        self._batch.n_tokens = at
        return self._batch
