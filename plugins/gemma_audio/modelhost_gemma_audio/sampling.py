"""How the next token is chosen: a request's parameters, and a sampler of its own for each row."""

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from modelhost import BadInputError, GenerateRequest
from torch import Tensor

from modelhost_gemma_audio.options import GemmaAudioOptions

LARGEST = 1e30
"""Of a logit; chosen, because models' logits are far smaller, and it stays finite when divided by `GREEDY_BELOW`."""
GREEDY_BELOW = 1e-4
"""Temperature; chosen, because dividing by a smaller one overflows, and it means the likeliest token anyway."""


@dataclass(frozen=True)
class Sampling:
    """The parameters of one row, none of them left open."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    bias: tuple[tuple[int, float], ...] = ()

    @property
    def plain(self) -> bool:
        """Return whether the likeliest token is always chosen."""
        neutral = self.repeat_penalty == 1 and not self.presence_penalty and not self.frequency_penalty
        return self.temperature < GREEDY_BELOW and neutral and not self.bias


def decide(
    request: GenerateRequest, options: GemmaAudioOptions, generation_config: Any, *, tokens: int, ends: frozenset[int]
) -> Sampling:
    """Take the request's parameters, filled up from the options and then from the checkpoint's `generation_config`.

    `tokens` is how many there are. Raises `BadInputError` for a wrong `logit_bias`.
    """
    bias = dict(request.logit_bias or {})
    for token, value in bias.items():
        if not 0 <= token < tokens or not math.isfinite(value):
            raise BadInputError(
                f"logit_bias has finite numbers for tokens 0 to {tokens - 1}; use -100 to ban a token", param="logit_bias"
            )
    if request.ignore_eos:
        bias |= dict.fromkeys(ends, -math.inf)
    greedy = getattr(generation_config, "do_sample", None) is False
    return Sampling(
        temperature=_first(
            request.temperature, options.temperature, 0.0 if greedy else getattr(generation_config, "temperature", None), 1.0
        ),
        top_p=_first(request.top_p, options.top_p, getattr(generation_config, "top_p", None), 1.0),
        top_k=_first(request.top_k, options.top_k, getattr(generation_config, "top_k", None), 0),
        min_p=_first(request.min_p, options.min_p, getattr(generation_config, "min_p", None), 0.0),
        repeat_penalty=_first(request.repeat_penalty, options.repeat_penalty),
        presence_penalty=request.presence_penalty or 0.0,
        frequency_penalty=request.frequency_penalty or 0.0,
        seed=_first(request.seed, options.seed, secrets.randbits(32)),
        bias=tuple(bias.items()),
    )


class Sampler:
    """Chooses the tokens of one row; the same seed and logits choose the same ones, whatever stands beside the row."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int], device: torch.device) -> None:
        """Begin; `prompt` counts for `repeat_penalty`, the other penalties count the answer alone, as OpenAI's do."""
        self._sampling = sampling
        self._chosen: list[int] = []
        self._seen = set(prompt) if sampling.repeat_penalty != 1 else set()
        self._random = None if sampling.temperature < GREEDY_BELOW else torch.Generator(device)
        if self._random and sampling.seed is not None:
            self._random.manual_seed(sampling.seed % 2**63)

    def choose(self, logits: Tensor) -> Tensor:
        """Return the next token, a scalar, for float32 logits of the whole vocabulary, which may be changed."""
        self._penalise(logits)
        if self._random is None:
            return logits.argmax()
        values, tokens = self._likely(logits / self._sampling.temperature)
        return tokens[torch.multinomial(values.softmax(0), 1, generator=self._random)[0]]

    def accept(self, token: int) -> None:
        """Count a token that was chosen."""
        self._chosen.append(token)
        if self._sampling.repeat_penalty != 1:
            self._seen.add(token)

    def _penalise(self, logits: Tensor) -> None:
        sampling = self._sampling
        if sampling.bias:
            tokens, values = zip(*sampling.bias, strict=True)
            logits.index_add_(0, torch.tensor(tokens, device=logits.device), torch.tensor(values, device=logits.device))
        if self._seen:
            seen = torch.tensor(sorted(self._seen), device=logits.device)
            found = logits[seen]
            logits[seen] = torch.where(found > 0, found / sampling.repeat_penalty, found * sampling.repeat_penalty)
        if self._chosen and (sampling.presence_penalty or sampling.frequency_penalty):
            chosen, counts = torch.unique(torch.tensor(self._chosen, device=logits.device), return_counts=True)
            logits[chosen] -= sampling.presence_penalty + sampling.frequency_penalty * counts
        logits.nan_to_num_(nan=-LARGEST, posinf=LARGEST, neginf=-LARGEST)  # a tiny penalty or a huge bias may have made some

    def _likely(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits that remain after top-k, top-p and min-p, and whose they are."""
        sampling = self._sampling
        count = min(sampling.top_k or len(logits), len(logits))
        values, tokens = logits.topk(count) if count < len(logits) else logits.sort(descending=True)
        if sampling.top_p >= 1 and not sampling.min_p:
            return values, tokens
        shares = values.softmax(0)
        before = shares.cumsum(0) - shares
        out = (before > sampling.top_p) | (shares < sampling.min_p * shares[0])
        out[0] = False
        return values.masked_fill(out, -math.inf), tokens


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)
