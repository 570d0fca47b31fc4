"""The fields that say how to choose the next token: the same in every route that generates text."""

import re
from typing import Annotated, Any, ClassVar, TypeVar

from msgspec import Meta

from modelhost.contract.errors import BadInputError
from modelhost.contract.structs import Struct
from modelhost.http.routing.json.foreign_fields import GENERATING, Elsewhere
from modelhost.http.routing.plugin_options import PluginFields
from modelhost.http.routing.spelling import Spelt

T = TypeVar("T")

_TOKEN_ID = re.compile(r"[0-9]{1,9}")

Fraction = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Limit = Annotated[int, Meta(ge=-1, le=2**31 - 1)]
"""A count, or -1 for none: then the model's configuration and its context are the only limits."""
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Repetition = Annotated[float, Meta(gt=0, le=10)]

STOPS = 131_072
"""Letters in all stop strings together: each takes a step and a few bytes of memory before the first token is made."""


class Sampling(PluginFields):
    """What OpenAI calls them, and below that what local models have beside it."""

    elsewhere: ClassVar[dict[str, Elsewhere]] = GENERATING
    spelt: ClassVar[Spelt] = {
        "max_tokens": ("max_tokens", "max_new_tokens", "n_predict"),
        "repeat_penalty": ("repeat_penalty", "repetition_penalty"),
    }

    max_tokens: Limit | None = None
    """Most tokens of the answer; -1 for as many as the model can."""
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    """0 for the likeliest token always; by default what the model is configured with."""
    top_p: Fraction | None = None
    """Choose among the likeliest tokens that together have this probability."""
    stop: str | list[str] | None = None
    """Texts at which the answer ends; they are not part of it. As many as one likes, of 131,072 letters together."""
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: Annotated[dict[str, Annotated[float, Meta(ge=-100, le=100)]], Meta(max_length=1024)] | None = None
    """Token id → what is added to its logit."""
    seed: Seed | None = None
    """The same seed gives the same answer, as far as the model can; -1 is none."""
    top_k: Limit | None = None
    """Choose among this many of the likeliest tokens; 0 or -1 for all."""
    min_p: Fraction | None = None
    """Leave out tokens less likely than this part of the likeliest one."""
    repeat_penalty: Repetition | None = None
    repetition_penalty: Repetition | None = None
    """Another name of `repeat_penalty`."""
    max_new_tokens: Limit | None = None
    """Another name of `max_tokens`, as is `n_predict`."""
    n_predict: Limit | None = None
    ignore_eos: bool | None = None
    """Go on where the model would stop, until `max_tokens`."""

    def sampling(self) -> dict[str, Any]:
        """Return the fields of a `GenerateRequest`. Raises `BadInputError`."""
        return {
            "max_tokens": self.limit(),
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": 0 if self.top_k == -1 else self.top_k,
            "min_p": self.min_p,
            "repeat_penalty": first_of(self.repeat_penalty, self.repetition_penalty),
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "logit_bias": _biases(self.logit_bias),
            "seed": seed_of(self.seed),
            "stop": _stops(self.stop),
            "ignore_eos": bool(self.ignore_eos),
            "options": self.options,
        }

    def limit(self, usual: int | None = None) -> int | None:
        """Return the most tokens of the answer: `usual` where nothing is said, None for no limit. Raises `BadInputError`."""
        return limited(first_of(self.max_tokens, self.max_new_tokens, self.n_predict), usual)


def limited(count: int | None, usual: int | None = None, *, param: str = "max_tokens") -> int | None:
    """Return a limit: `usual` where nothing is said, None for -1. Raises `BadInputError` for 0."""
    if count == 0:
        raise BadInputError(f"{param} must be at least 1, or -1 for no limit", param=param)
    return None if count == -1 else usual if count is None else count


def first_of(*values: T | None) -> T | None:
    """Return the first that is there."""
    return next((value for value in values if value is not None), None)


def seed_of(seed: int | None) -> int | None:
    """Return a seed; -1 is how llama.cpp and its clients ask for none."""
    return None if seed == -1 else seed


class StreamOptions(Struct):
    """What a stream holds beside its text."""

    include_usage: bool | None = None
    """End with the token counts."""
    include_obfuscation: bool | None = None
    """Accepted; nothing is padded here."""


def _stops(stop: str | list[str] | None) -> tuple[str, ...]:
    stops = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if sum(map(len, stops)) > STOPS:
        raise BadInputError(f"all stop strings together may have {STOPS} letters", param="stop")
    return stops


def _biases(biases: dict[str, float] | None) -> dict[int, float] | None:
    if biases is None:
        return None
    if not all(_TOKEN_ID.fullmatch(token) for token in biases):
        raise BadInputError("the keys of logit_bias are token ids", param="logit_bias")
    return {int(token): bias for token, bias in biases.items() if bias}
