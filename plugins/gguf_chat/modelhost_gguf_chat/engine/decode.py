"""llama.cpp's context: the one file that calls into it to compute, and to change what it remembers.

Belongs to one thread, but for `abort`.
"""

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import llama_cpp
import numpy as np
from modelhost import NotReadyError
from numpy.typing import NDArray

from modelhost_gguf_chat.engine.batch import Batch, Piece
from modelhost_gguf_chat.options import GgufChatOptions
from modelhost_gguf_chat.weights import reason

CACHE_TYPES = {
    "f32": llama_cpp.GGML_TYPE_F32,
    "f16": llama_cpp.GGML_TYPE_F16,
    "bf16": 30,  # the binding has no name for it
    "q8_0": llama_cpp.GGML_TYPE_Q8_0,
    "q5_1": llama_cpp.GGML_TYPE_Q5_1,
    "q5_0": llama_cpp.GGML_TYPE_Q5_0,
    "q4_1": llama_cpp.GGML_TYPE_Q4_1,
    "q4_0": llama_cpp.GGML_TYPE_Q4_0,
    "iq4_nl": llama_cpp.GGML_TYPE_IQ4_NL,
}
FLASH_ATTENTION = {
    "auto": llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "on": llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "off": llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}
NO_ROOM = 1
ABORTED = 2
"""What `llama_decode` returns, beside 0 and errors below it (include/llama.h)."""


class Shape(NamedTuple):
    """How large a context is."""

    sequences: int
    cells: int
    """Of all sequences together."""
    unified: bool
    batch: int
    """Tokens of the largest decode."""


class Decoder:
    """A context of a loaded model, and the batch that is computed in it."""

    def __init__(self, model: Any, options: GgufChatOptions, shape: Shape, threads: int) -> None:
        """Make it; raises `NotReadyError` with llama.cpp's reason."""
        self._context: Any = None
        self._context = _make_context(model, options, shape, threads)
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._vocabulary_size: int = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
        self._window: int = llama_cpp.llama_model_n_swa(model)
        self.cuts: bool = not (llama_cpp.llama_model_is_recurrent(model) or llama_cpp.llama_model_is_hybrid(model))
        """Whether a sequence can be cut anywhere; else only all of it can be used or forgotten."""
        self.cuts_states: bool = self.cuts and not self._window
        """Whether that holds for a state that was restored, too: one of sliding windows has no more than these."""
        self._batch = Batch(shape.batch)
        self._sequences = shape.sequences
        self._rows: NDArray[np.float32] = np.zeros((0, 0), np.float32)
        self._view = 0, 0
        """Where the rows are, and how many."""
        # strlen as the abort callback: true once the buffer holds a character. One in Python would take the GIL for
        # each node of the graph, hundreds of times a token.
        self._abort = ctypes.create_string_buffer(2)
        self._strlen = ctypes.cast(ctypes.CDLL(None).strlen, llama_cpp.ggml_abort_callback)
        llama_cpp.llama_set_abort_callback(self._context, self._strlen, ctypes.cast(self._abort, ctypes.c_void_p))

    def close(self) -> None:
        """Free the context."""
        if self._context:
            llama_cpp.llama_free(self._context)
            self._context = None

    def abort(self) -> None:
        """Stop the decode that runs, and every one after it, on the CPU in its middle; from any thread."""
        self._abort.value = b"x"

    def decode(self, pieces: Sequence[Piece]) -> int:
        """Compute a batch; returns llama.cpp's code. Logits are read by `logits`, in the order of the pieces."""
        code: int = llama_cpp.llama_decode(self._context, self._batch.of(pieces))
        return code

    def rounds_alike(self, token: int) -> bool:
        """Compute a few tokens in an empty context; returns whether a row has the same bits alone and in company.

        It does with quantised weights on a CPU, and not with unquantised ones, for which ggml has other kernels for more
        rows than one. Raises RuntimeError where nothing can be computed.
        """
        first, second = Piece(0, 0, (token,), 1), Piece(0, 1, (token,), 1)
        alone = self._row_of([first], [second])
        company = [self._row_of([Piece(0, 0, (token, token), 1)])]
        if self._sequences > 1:
            company.append(self._row_of(*([piece, piece._replace(sequence=1)] for piece in (first, second))))
        return all(np.array_equal(alone, row) for row in company)

    def _row_of(self, *steps: list[Piece]) -> NDArray[np.float32]:
        """Compute steps, and return the last logits of their first piece; the context is empty again."""
        for step in steps:
            if code := self.decode(step):
                raise RuntimeError(f"llama_decode answered {code}{reason()}")
        row: NDArray[np.float32] = self.logits(len(steps[-1]))[0].copy()
        for piece in steps[-1]:
            self.forget(piece.sequence)
        return row

    def logits(self, count: int) -> NDArray[np.float32]:
        """Return the `count` rows of logits of the last decode: not a copy, and whoever reads a row may change it."""
        address = ctypes.addressof(llama_cpp.llama_get_logits(self._context).contents)
        if self._view != (address, count):  # it stays where it is from step to step
            numbers: Any = (ctypes.c_float * (count * self._vocabulary_size)).from_address(address)
            self._rows = np.frombuffer(numbers, np.float32).reshape(count, self._vocabulary_size)
            self._view = address, count
        return self._rows

    def copy(self, source: int, sequence: int) -> None:
        """Let an empty sequence have what another one has, in the same cells; in a unified cache."""
        llama_cpp.llama_memory_seq_cp(self._memory, source, sequence, -1, -1)

    def cut(self, sequence: int, length: int) -> bool:
        """Forget all but the first `length` tokens; false where they cannot be gone on from: then nothing is left of it."""
        if llama_cpp.llama_memory_seq_rm(self._memory, sequence, length, -1) and self._reaches_back(sequence, length):
            return True
        self.forget(sequence)
        return False

    def forget(self, sequence: int) -> None:
        """Forget a sequence."""
        llama_cpp.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def state(self, sequence: int) -> bytearray | None:
        """Return all that llama.cpp knows of a sequence; None where it does not say."""
        size = llama_cpp.llama_state_seq_get_size(self._context, sequence)
        data = bytearray(size)
        pointer = (ctypes.c_uint8 * size).from_buffer(data)
        written = llama_cpp.llama_state_seq_get_data(self._context, pointer, size, sequence)
        return data if size and written == size else None

    def restore(self, sequence: int, state: bytearray) -> bool:
        """Give an empty sequence a state; false where it has no room, and then it is empty."""
        pointer = (ctypes.c_uint8 * len(state)).from_buffer(state)
        if llama_cpp.llama_state_seq_set_data(self._context, pointer, len(state), sequence):
            return True
        self.forget(sequence)
        return False

    def _reaches_back(self, sequence: int, length: int) -> bool:
        """Whether what the next token looks back at is still there: a sliding window keeps no more than it needs."""
        if not (self._window and length):
            return True
        oldest: int = llama_cpp.llama_memory_seq_pos_min(self._memory, sequence)
        return 0 <= oldest <= max(0, length - self._window)  # -1: of what was restored nothing is left


def _make_context(model: Any, options: GgufChatOptions, shape: Shape, threads: int) -> Any:
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = shape.cells
    parameters.n_batch = parameters.n_ubatch = shape.batch
    parameters.n_seq_max = shape.sequences
    parameters.kv_unified = shape.unified
    parameters.n_threads = parameters.n_threads_batch = threads
    parameters.type_k = CACHE_TYPES[options.cache_type_k]
    parameters.type_v = CACHE_TYPES[options.cache_type_v]
    parameters.flash_attn_type = FLASH_ATTENTION[options.flash_attn]
    context = llama_cpp.llama_init_from_model(model, parameters)
    if not context:
        raise NotReadyError(
            f"llama.cpp cannot make a context of {shape.cells} tokens{reason()}; try a smaller n_ctx or parallel, "
            "or f16 for cache_type_v",
            retry=False,
        )
    return context
