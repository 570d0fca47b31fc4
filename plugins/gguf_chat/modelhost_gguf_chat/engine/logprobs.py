"""Probabilities of tokens, from the logits the model gave before any sampler changed them."""

from typing import Any

import numpy as np
from modelhost import TokenLogprob
from numpy.typing import NDArray

from modelhost_gguf_chat.tokens import Vocabulary

LEAST = -9999.0
"""Stands for a probability of zero, as OpenAI writes it (https://platform.openai.com/docs/api-reference/chat/object): JSON has no
infinity."""


def token_logprob(logits: NDArray[np.float32], token: int, top: int, vocabulary: Vocabulary) -> TokenLogprob:
    """Return the natural-log probability of `token`, and of the `top` likeliest tokens, likeliest first."""
    peak = logits.max()
    total = float(peak) + float(np.log(np.exp(logits - peak).sum(dtype=np.float64)))

    def describe(token: int, **more: Any) -> TokenLogprob:
        data = vocabulary.piece(token, special=True)
        logprob = max(LEAST, min(0.0, float(logits[token]) - total))
        return TokenLogprob(token=data.decode("utf-8", "replace"), logprob=logprob, data=data, **more)

    if not top:
        return describe(token)
    likeliest = np.argpartition(logits, -top)[-top:]
    likeliest = likeliest[np.argsort(-logits[likeliest], kind="stable")]
    return describe(token, top=tuple(describe(int(other)) for other in likeliest))
