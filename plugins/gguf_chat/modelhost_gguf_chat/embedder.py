"""A model in a llama.cpp context that makes one vector of each text."""

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from modelhost import Log, NotReadyError
from numpy.typing import NDArray

from modelhost_gguf_chat.engine.batch import Batch, Piece
from modelhost_gguf_chat.options import GgufChatOptions
from modelhost_gguf_chat.tokens import Vocabulary
from modelhost_gguf_chat.weights import listen, load_model, reason

MOST_CONTEXT = 2048
"""Tokens of a text unless the options say otherwise. Chosen, because they are computed in one step, and memory for that is taken
at load."""
TEXTS = 16
"""Texts in one step. Chosen, because llama.cpp keeps a sequence for each, and more gain little on a CPU."""


class Embedder:
    """Loaded weights and their context. After it is made, one thread alone may use it."""

    def __init__(self, weights: Path, options: GgufChatOptions, *, pooled: bool, threads: int, log: Log) -> None:
        """Load and compute one token; `pooled` says whether the file names how a text's vector is made, else it is a mean.

        Raises `NotReadyError` with llama.cpp's reason, `BadInputError` for an option.
        """
        self._model: Any = None
        self._context: Any = None
        listen(log)
        llama_cpp.llama_backend_init()
        try:
            self._model = load_model(weights, options)
            self.vocabulary = Vocabulary(self._model)
            self.dimensions: int = llama_cpp.llama_model_n_embd_out(self._model)
            self.n_ctx = min(options.n_ctx or MOST_CONTEXT, llama_cpp.llama_model_n_ctx_train(self._model))
            """Tokens of a text, and of all texts in one step."""
            self._context = self._make_context(options, pooled, threads)
            self._memory = llama_cpp.llama_get_memory(self._context)
            self._batch = Batch(self.n_ctx)
            self.compute([[max(self.vocabulary.bos, 0)]])
        except BaseException:
            self.close()
            raise

    def compute(self, texts: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return the vectors of at most `TEXTS` texts, a row each, with `n_ctx` tokens at most in all."""
        if self._memory:
            llama_cpp.llama_memory_clear(self._memory, False)
        pieces = [Piece(number, 0, tokens, len(tokens)) for number, tokens in enumerate(texts)]
        if code := llama_cpp.llama_decode(self._context, self._batch.of(pieces)):
            raise RuntimeError(f"llama_decode answered {code}{reason()}")
        return np.stack([self._vector(number) for number in range(len(texts))])

    def close(self) -> None:
        """Free context and weights."""
        if self._context:
            llama_cpp.llama_free(self._context)
            self._context = None
        if self._model:
            llama_cpp.llama_model_free(self._model)
            self._model = None

    def _vector(self, number: int) -> NDArray[np.float32]:
        row = llama_cpp.llama_get_embeddings_seq(self._context, number)
        if not row:
            raise RuntimeError("llama.cpp made no vector")
        return np.ctypeslib.as_array(ctypes.cast(row, ctypes.POINTER(ctypes.c_float)), shape=(self.dimensions,)).copy()

    def _make_context(self, options: GgufChatOptions, pooled: bool, threads: int) -> Any:
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = self.n_ctx
        parameters.n_seq_max = TEXTS
        parameters.kv_unified = True
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.embeddings = True
        parameters.pooling_type = llama_cpp.LLAMA_POOLING_TYPE_UNSPECIFIED if pooled else llama_cpp.LLAMA_POOLING_TYPE_MEAN
        context = llama_cpp.llama_init_from_model(self._model, parameters)
        if not context:
            raise NotReadyError(
                f"llama.cpp cannot make a context of {self.n_ctx} tokens{reason()}; try a smaller n_ctx", retry=False
            )
        return context
