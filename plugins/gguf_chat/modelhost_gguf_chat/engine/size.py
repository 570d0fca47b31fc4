"""How large a context is made: for how many answers at once, and with how many tokens in one decode."""

import ctypes
import os
from typing import Any

import llama_cpp
from modelhost import Log

from modelhost_gguf_chat.engine.decode import Shape
from modelhost_gguf_chat.options import GgufChatOptions
from modelhost_gguf_chat.weights import device_of

DEFAULT_MOST_CONTEXT = 8192
"""Tokens of the context unless the options say otherwise. Chosen, because the cache of a model's whole context may not fit into
memory."""
MOST_PARALLEL = 4
"""Answers at once unless the options say otherwise. Chosen, because it is what llama-server and Ollama have by default; each
takes the memory of a context."""
CACHE_PART = 4
"""The KV cache takes at most one byte in so many of the machine's memory, unless the options ask for more. Chosen, because other
models and the weights want room, too."""
EXACT_TOKENS = 63
"""Tokens of a decode up to which ggml's CPU kernels compute each row as they compute it alone: from 64 on flash attention takes
another way (measured with llama.cpp as of llama-cpp-python 0.3.36, tests/test_engine.py)."""
MOST_SEQUENCES = 256
"""Sequences of a context: `LLAMA_MAX_SEQ` of llama.cpp's src/llama-cparams.h."""
BYTES = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32, "q4_1": 20 / 32, "q4_0": 18 / 32}
"""Of a number in the cache: a block of 32 and its scale, by ggml's block structs (ggml/src/ggml-common.h); `iq4_nl` as `q4_0`."""


def shape_of(model: Any, options: GgufChatOptions, log: Log) -> tuple[int, Shape, int]:
    """Return the tokens of a sequence, the context's shape, and how many answers it computes at once."""
    trained: int = llama_cpp.llama_model_n_ctx_train(model)
    n_ctx = options.n_ctx or min(trained, DEFAULT_MOST_CONTEXT)
    if n_ctx > trained:
        log.warning("the context is longer than the model was trained for", n_ctx=n_ctx, trained=trained)
    unified = options.kv == "unified"
    batch = min(options.n_batch, n_ctx)
    if unified:
        parallel = options.parallel or MOST_PARALLEL
        return n_ctx, Shape(min(2 * parallel, MOST_SEQUENCES), n_ctx, True, batch), parallel
    fitting = int(_memory() // CACHE_PART // max(1.0, n_ctx * bytes_per_token(model, options)))
    parallel = options.parallel or max(1, min(MOST_PARALLEL, fitting))
    # llama.cpp rounds a sequence's share up to a multiple of 256 by itself
    return n_ctx, Shape(parallel, parallel * -(-n_ctx // 256) * 256, False, batch), parallel


def bytes_per_token(model: Any, options: GgufChatOptions) -> float:
    """Return what the cache takes for a token, as the model's header says it."""
    heads: int = llama_cpp.llama_model_n_head_kv(model)
    width = llama_cpp.llama_model_n_embd(model) / max(1, llama_cpp.llama_model_n_head(model))
    keys = _number(model, "attention.key_length") or width
    values = _number(model, "attention.value_length") or width
    layers: int = llama_cpp.llama_model_n_layer(model)
    of_keys, of_values = (BYTES.get(kind, BYTES["q4_0"]) for kind in (options.cache_type_k, options.cache_type_v))
    return layers * heads * (keys * of_keys + values * of_values)


def may_be_exact(options: GgufChatOptions) -> bool:
    """Return whether each answer can be computed to the bit as it would be alone, if the model's kernels are such."""
    return options.kv == "split" and options.flash_attn != "off" and device_of(options) == "cpu"


def _number(model: Any, key: str) -> float:
    buffer = ctypes.create_string_buffer(64)
    architecture = _text(model, b"general.architecture")
    size = llama_cpp.llama_model_meta_val_str(model, architecture + b"." + key.encode(), buffer, len(buffer))
    return float(buffer.value) if size > 0 and buffer.value.replace(b".", b"").isdigit() else 0.0


def _text(model: Any, key: bytes) -> bytes:
    buffer = ctypes.create_string_buffer(64)
    return buffer.value if llama_cpp.llama_model_meta_val_str(model, key, buffer, len(buffer)) > 0 else b""


def _memory() -> int:
    """Return this machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
