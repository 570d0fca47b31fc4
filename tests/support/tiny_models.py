"""Tiny GGUF models with random weights, of the kinds that no small published model has: what they say means nothing."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

LETTERS = [chr(letter) for letter in range(97, 123)]
WIDTH = 32
LAYERS = 3


def recurrent(path: Path) -> Path:
    """Write a Mamba: it keeps one state of all that came before, which cannot be cut."""
    inner, state, rank = 2 * WIDTH, 8, 4
    model = _Model(path, "mamba")
    model.writer.add_feed_forward_length(0)
    model.writer.add_head_count(0)
    model.writer.add_ssm_conv_kernel(4)
    model.writer.add_ssm_inner_size(inner)
    model.writer.add_ssm_state_size(state)
    model.writer.add_ssm_time_step_rank(rank)
    for layer in range(LAYERS):
        model.ones(f"blk.{layer}.attn_norm.weight", WIDTH)
        model.random(f"blk.{layer}.ssm_in.weight", 2 * inner, WIDTH)
        model.random(f"blk.{layer}.ssm_conv1d.weight", inner, 4)
        model.random(f"blk.{layer}.ssm_conv1d.bias", inner)
        model.random(f"blk.{layer}.ssm_x.weight", rank + 2 * state, inner)
        model.random(f"blk.{layer}.ssm_dt.weight", inner, rank)
        model.random(f"blk.{layer}.ssm_dt.bias", inner)
        model.add(f"blk.{layer}.ssm_a", -np.tile(np.arange(1, state + 1, dtype=np.float32), (inner, 1)))
        model.ones(f"blk.{layer}.ssm_d", inner)
        model.random(f"blk.{layer}.ssm_out.weight", WIDTH, inner)
    return model.done()


def windowed(path: Path, window: int = 16) -> Path:
    """Write a Gemma 3 whose layers look back over a few tokens only, but for each sixth."""
    heads, size, hidden = 2, 16, 64
    model = _Model(path, "gemma3", layers=7)
    model.writer.add_feed_forward_length(hidden)
    model.writer.add_head_count(heads)
    model.writer.add_head_count_kv(1)
    model.writer.add_key_length(size)
    model.writer.add_value_length(size)
    model.writer.add_sliding_window(window)
    for layer in range(7):
        for name in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            model.ones(f"blk.{layer}.{name}.weight", WIDTH)
        model.ones(f"blk.{layer}.attn_q_norm.weight", size)
        model.ones(f"blk.{layer}.attn_k_norm.weight", size)
        model.random(f"blk.{layer}.attn_q.weight", heads * size, WIDTH)
        model.random(f"blk.{layer}.attn_k.weight", size, WIDTH)
        model.random(f"blk.{layer}.attn_v.weight", size, WIDTH)
        model.random(f"blk.{layer}.attn_output.weight", WIDTH, heads * size)
        model.random(f"blk.{layer}.ffn_gate.weight", hidden, WIDTH)
        model.random(f"blk.{layer}.ffn_up.weight", hidden, WIDTH)
        model.random(f"blk.{layer}.ffn_down.weight", WIDTH, hidden)
    return model.done()


class _Model:
    """A file that grows by tensors, with a vocabulary of bytes and letters."""

    def __init__(self, path: Path, architecture: str, layers: int = LAYERS) -> None:
        self.path = path
        self.dice = np.random.default_rng(7)
        self.writer = writer = gguf.GGUFWriter(path, architecture)
        writer.add_context_length(1024)
        writer.add_embedding_length(WIDTH)
        writer.add_block_count(layers)
        writer.add_layer_norm_rms_eps(1e-5)
        tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *LETTERS, *("\u2581" + x for x in LETTERS)]
        kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
        kinds += [gguf.TokenType.BYTE] * 256 + [gguf.TokenType.NORMAL] * 2 * len(LETTERS)
        writer.add_tokenizer_model("llama")
        writer.add_token_list(tokens)
        writer.add_token_scores([0.0] * len(tokens))
        writer.add_token_types(kinds)
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_vocab_size(len(tokens))
        self.random("token_embd.weight", len(tokens), WIDTH)
        self.random("output.weight", len(tokens), WIDTH)
        self.ones("output_norm.weight", WIDTH)

    def random(self, name: str, *shape: int) -> None:
        self.add(name, self.dice.normal(0, 0.3, shape).astype(np.float32))

    def ones(self, name: str, *shape: int) -> None:
        self.add(name, np.ones(shape, np.float32))

    def add(self, name: str, values: NDArray[Any]) -> None:
        self.writer.add_tensor(name, values)

    def done(self) -> Path:
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()
        return self.path
