"""How the next token is chosen: a request's parameters, and what becomes of the model's logits by them."""

import math
import secrets
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from modelhost import BadInputError, GenerateRequest
from numpy.typing import NDArray

from modelhost_gguf_chat.options import GgufChatOptions
from modelhost_gguf_chat.tokens import Vocabulary

GREEDY_BELOW = 1e-4
"""Temperature. Chosen, because dividing logits by a smaller one overflows, and it means the likeliest token anyway."""
SEEDS = 2**32
"""Seeds there are, as with llama.cpp, whose seeds are uint32 (https://github.com/ggml-org/llama.cpp, include/llama.h)."""
NEAR = (6.0, 9.0, 12.0, math.inf)
"""Logits below the highest, tried one after the other. Chosen, because of SmolLM2's 49,152 tokens some 90, 800 and 5,000 are as
near (median of a text's steps), and a look costs 5 microseconds."""


MANY = 512
"""Tokens of which the largest are looked for before they are sorted. Chosen: from there on that is quicker than sorting all."""


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
        seed=(seed if is_seed(seed) else secrets.randbits(32)) % SEEDS,
        bias=tuple(bias.items()),
    )


def is_seed(seed: int | None) -> TypeGuard[int]:
    """Return whether answers are to be repeatable; -1 is llama.cpp's word for a random seed, and everybody's since."""
    return seed is not None and seed != -1


class Sampler:
    """Chooses tokens, one after the other, as llama.cpp's chain of samplers does in its usual order.

    Written over the array of logits, because llama.cpp's samplers first make a struct of each token of the vocabulary: 42 to 550
    microseconds a row with 49,152 tokens (`benchmarks/gguf_sampling.py`).
    """

    def __init__(self, sampling: Sampling, prompt: Sequence[int]) -> None:
        """Begin an answer; `prompt` counts for `repeat_penalty`, and for that alone."""
        self._sampling = sampling
        self._dice = np.random.Generator(np.random.PCG64(sampling.seed))
        self._biased = np.array([token for token, _ in sampling.bias], np.intp)
        self._bias = np.array([value for _, value in sampling.bias], np.float32)
        last = None if sampling.repeat_last_n < 0 else sampling.repeat_last_n
        self._recent: deque[int] | None = None
        if sampling.repeat_penalty != 1 and last != 0:
            self._recent = deque(prompt if last is None else prompt[-last:], last)
        self._counts: dict[int, int] | None = {} if sampling.presence_penalty or sampling.frequency_penalty else None

    def sample(self, logits: NDArray[np.float32]) -> int:
        """Return the next token and count it; `logits` are changed on the way."""
        self._adjust(logits)
        peak = float(logits.max())
        if not math.isfinite(peak):
            raise RuntimeError("the model has computed no probabilities")
        token = int(logits.argmax()) if self._sampling.temperature < GREEDY_BELOW else self._draw(logits, peak)
        if self._recent is not None:
            self._recent.append(token)
        if self._counts is not None:
            self._counts[token] = self._counts.get(token, 0) + 1
        return token

    def _adjust(self, logits: NDArray[np.float32]) -> None:
        sampling = self._sampling
        if len(self._biased):
            logits[self._biased] += self._bias
        if self._recent:
            seen = np.array(tuple(set(self._recent)), np.intp)
            values = logits[seen]
            logits[seen] = np.where(values > 0, values / sampling.repeat_penalty, values * sampling.repeat_penalty)
        if self._counts:
            counted = np.fromiter(self._counts, np.intp, len(self._counts))
            times = np.fromiter(self._counts.values(), np.float32, len(self._counts))
            logits[counted] -= times * sampling.frequency_penalty + np.float32(sampling.presence_penalty)

    def _draw(self, logits: NDArray[np.float32], peak: float) -> int:
        sampling = self._sampling
        if not sampling.top_k and not sampling.min_p and sampling.top_p >= 1:
            return self._draw_of_all(logits - np.float32(peak))
        tokens, total = self._near(logits, peak)
        values = logits[tokens].astype(np.float64)
        order = (-values).argsort(kind="stable")[: sampling.top_k or None]
        weights = np.exp(values[order] - peak)
        reached = weights.cumsum()
        count = len(order)
        if sampling.top_p < 1:
            count = min(count, int(reached.searchsorted(sampling.top_p * (total or reached[-1]))) + 1)
        if sampling.min_p:
            count = max(1, min(count, len(order) - int(weights[::-1].searchsorted(sampling.min_p))))
        if sampling.temperature != 1:
            reached = (weights[:count] ** (1 / sampling.temperature)).cumsum()
        drawn = int(reached[:count].searchsorted(self._dice.random() * reached[count - 1], side="right"))
        return int(tokens[order[min(drawn, count - 1)]])

    def _near(self, logits: NDArray[np.float32], peak: float) -> tuple[NDArray[np.intp], float]:
        """Return tokens of which none that is left out could be drawn, and what all weigh where `top_p` counts all, else 0.

        Tokens far below the highest are looked at only if those near it are not enough: most steps sort a hundred.
        """
        sampling = self._sampling
        if sampling.top_k:
            for reach in NEAR:
                tokens = (logits >= np.float32(peak - reach)).nonzero()[0]
                if len(tokens) >= sampling.top_k:
                    break
            return (_largest(tokens, logits[tokens], sampling.top_k) if len(tokens) > MANY else tokens), 0.0
        weights = np.exp(logits - np.float32(peak)) if sampling.top_p < 1 else logits[:0]
        total = float(weights.sum(dtype=np.float64))
        for reach in (-math.log(sampling.min_p) + 1e-3,) if sampling.min_p else NEAR:
            tokens = (logits >= np.float32(peak - reach)).nonzero()[0]
            if sampling.min_p or float(weights[tokens].sum(dtype=np.float64)) > sampling.top_p * total:
                break
        return tokens, total

    def _draw_of_all(self, below: NDArray[np.float32]) -> int:
        """Draw where no token is ruled out; `below` is how far each logit is from the highest."""
        weights = np.exp(below / np.float32(self._sampling.temperature))
        dice = self._dice.random() * float(weights.sum(dtype=np.float64))
        near = np.flatnonzero(below >= -NEAR[0] * self._sampling.temperature)
        reached = np.cumsum(weights[near], dtype=np.float64)
        if dice < reached[-1]:
            return int(near[np.searchsorted(reached, dice, side="right")])
        weights[near] = 0
        reached = np.cumsum(weights, dtype=np.float64) + reached[-1]
        return min(int(np.searchsorted(reached, dice, side="right")), len(weights) - 1)


def _largest(tokens: NDArray[np.intp], values: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Return the tokens with the largest values; of equals those with the smaller numbers."""
    if len(tokens) <= count:
        return tokens
    least = np.partition(values, -count)[-count]
    above, equal = tokens[values > least], tokens[values == least]
    return np.concatenate((above, equal[: count - len(above)]))


def _or_default(value: Any, default: Any) -> Any:
    return default if value is None else value
