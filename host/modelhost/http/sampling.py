"""The fields that say how to choose the next token: the same in every route that generates text."""

import re
from typing import Annotated, Any

from msgspec import Meta

from modelhost.errors import BadInputError
from modelhost.structs import Struct

_TOKEN_ID = re.compile(r"[0-9]{1,9}")

Fraction = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Text = Annotated[str, Meta(max_length=4096)]
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Stop = Text | Annotated[list[Text], Meta(max_length=16)]


class Sampling(Struct):
    """What OpenAI calls them, and below that what local models have beside it."""

    max_tokens: Count | None = None
    """Most tokens of the answer."""
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    """0 for the likeliest token always; by default what the model is configured with."""
    top_p: Fraction | None = None
    """Choose among the likeliest tokens that together have this probability."""
    stop: Stop | None = None
    """Texts at which the answer ends; they are not part of it."""
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: Annotated[dict[str, Annotated[float, Meta(ge=-100, le=100)]], Meta(max_length=1024)] | None = None
    """Token id → what is added to its logit."""
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    """The same seed gives the same answer, as far as the model can."""
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    """Choose among this many of the likeliest tokens; 0 for all."""
    min_p: Fraction | None = None
    """Leave out tokens less likely than this part of the likeliest one."""
    repeat_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    ignore_eos: bool | None = None
    """Go on where the model would stop, until `max_tokens`."""

    def sampling(self) -> dict[str, Any]:
        """Give the fields of a `GenerateRequest`. Raises `BadInputError`."""
        return {
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": self.min_p,
            "repeat_penalty": self.repeat_penalty,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "logit_bias": _biases(self.logit_bias),
            "seed": self.seed,
            "stop": (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
            "ignore_eos": bool(self.ignore_eos),
        }


class StreamOptions(Struct):
    """What a stream holds beside its text."""

    include_usage: bool | None = None
    """End with the token counts."""
    include_obfuscation: bool | None = None
    """Accepted; nothing is padded here."""


def _biases(biases: dict[str, float] | None) -> dict[int, float] | None:
    if biases is None:
        return None
    if not all(_TOKEN_ID.fullmatch(token) for token in biases):
        raise BadInputError("the keys of logit_bias are token ids", param="logit_bias")
    return {int(token): bias for token, bias in biases.items() if bias}
