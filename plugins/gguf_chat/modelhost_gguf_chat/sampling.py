"""How the next token is chosen: a request's parameters, and llama.cpp's chain of samplers made from them."""

import math
import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeGuard

import llama_cpp
from modelhost import BadInputError, GenerateRequest

from modelhost_gguf_chat.options import GgufChatOptions
from modelhost_gguf_chat.tokens import Vocabulary

GREEDY_BELOW = 1e-4
"""Temperature. Chosen, because dividing logits by a smaller one overflows, and it means the likeliest token anyway."""
RANDOM_SEED = 0xFFFFFFFF
"""llama.cpp draws a random seed where it is given this one: `LLAMA_DEFAULT_SEED` of https://github.com/ggml-org/llama.cpp,
include/llama.h."""


class Sampling(NamedTuple):
    """Every parameter decided: the request's word, else the model's configuration."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repeat_penalty: float
    repeat_last_n: int
    presence_penalty: float
    frequency_penalty: float
    seed: int
    bias: tuple[tuple[int, float], ...]


def decide(request: GenerateRequest, options: GgufChatOptions, vocabulary: Vocabulary) -> Sampling:
    """Take the request's parameters, filled up from the options; raises `BadInputError` for a wrong `logit_bias`."""
    bias = dict(request.logit_bias or {})
    for token, value in bias.items():
        if not 0 <= token < vocabulary.size:
            raise BadInputError(
                f"logit_bias names token {token}, but this model's tokens are 0 to {vocabulary.size - 1}",
                param="logit_bias",
            )
        if not math.isfinite(value):
            raise BadInputError("a logit_bias must be a finite number; use -100 to ban a token", param="logit_bias")
    if request.ignore_eos:
        bias |= dict.fromkeys(vocabulary.end_tokens, -math.inf)
    seed = options.seed if request.seed is None else request.seed
    return Sampling(
        temperature=_or_default(request.temperature, options.temperature),
        top_p=_or_default(request.top_p, options.top_p),
        top_k=max(0, _or_default(request.top_k, options.top_k)),
        min_p=_or_default(request.min_p, options.min_p),
        repeat_penalty=_or_default(request.repeat_penalty, options.repeat_penalty),
        repeat_last_n=options.repeat_last_n,
        presence_penalty=_or_default(request.presence_penalty, 0.0),
        frequency_penalty=_or_default(request.frequency_penalty, 0.0),
        seed=(seed if is_seed(seed) else secrets.randbits(32)) % RANDOM_SEED,
        bias=tuple(bias.items()),
    )


def is_seed(seed: int | None) -> TypeGuard[int]:
    """Return whether answers are to be repeatable; -1 is llama.cpp's word for a random seed, and everybody's since."""
    return seed is not None and seed != -1


class Sampler:
    """A chain of llama.cpp's samplers in its usual order; `close` frees it."""

    def __init__(self, sampling: Sampling, vocabulary: Vocabulary, prompt: Sequence[int], window: int) -> None:
        """Make the chain; `prompt` counts for `repeat_penalty`, `window` is how far back the other penalties look."""
        self.pointer = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        if sampling.bias:
            entries = (llama_cpp.llama_logit_bias * len(sampling.bias))(
                *(llama_cpp.llama_logit_bias(token, value) for token, value in sampling.bias)
            )
            self._add(llama_cpp.llama_sampler_init_logit_bias(vocabulary.size, len(sampling.bias), entries))
        last = window if sampling.repeat_last_n < 0 else sampling.repeat_last_n
        if sampling.repeat_penalty != 1 and last:
            repeat = llama_cpp.llama_sampler_init_penalties(vocabulary.size, last, sampling.repeat_penalty, 0.0, 0.0)
            for token in prompt[-last:]:
                llama_cpp.llama_sampler_accept(repeat, token)
            self._add(repeat)
        if sampling.presence_penalty or sampling.frequency_penalty:
            # its own sampler: these two count the answer's tokens alone, as OpenAI's do
            self._add(
                llama_cpp.llama_sampler_init_penalties(
                    vocabulary.size, window, 1.0, sampling.frequency_penalty, sampling.presence_penalty
                )
            )
        if sampling.temperature < GREEDY_BELOW:
            self._add(llama_cpp.llama_sampler_init_greedy())
            return
        if sampling.top_k:
            self._add(llama_cpp.llama_sampler_init_top_k(sampling.top_k))
        if sampling.top_p < 1:
            self._add(llama_cpp.llama_sampler_init_top_p(sampling.top_p, 1))
        if sampling.min_p:
            self._add(llama_cpp.llama_sampler_init_min_p(sampling.min_p, 1))
        if sampling.temperature != 1:
            self._add(llama_cpp.llama_sampler_init_temp(sampling.temperature))
        self._add(llama_cpp.llama_sampler_init_dist(sampling.seed))

    def close(self) -> None:
        """Free the chain and its samplers."""
        if self.pointer:
            llama_cpp.llama_sampler_free(self.pointer)
            self.pointer = None

    def _add(self, sampler: Any) -> None:
        if not sampler:  # adding NULL to a chain ends the process
            self.close()
            raise RuntimeError("llama.cpp could not make a sampler")
        llama_cpp.llama_sampler_chain_add(self.pointer, sampler)


def _or_default(value: Any, default: Any) -> Any:
    return default if value is None else value
