"""What a loaded model says of itself; routes and the router read nothing else."""

import re
from collections.abc import Iterable
from typing import Annotated, Literal, get_args

from msgspec import Meta

from modelhost.contract.structs import Wire
from modelhost.contract.types import Ability

Input = Literal["text", "audio", "image", "document"]

Feature = Literal[
    "streaming",
    # generate
    "stop",
    "tools",
    "reasoning",
    "logprobs",
    "json_object",
    "json_schema",
    "completion",
    "prompt_logprobs",
    "suffix",
    "prefill",
    "n",
    "logit_bias",
    "top_k",
    "min_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "ignore_eos",
    "compaction",
    # generate and summarize
    "safety",
    # transcribe
    "live",
    "translate",
    "word_timestamps",
    "hotwords",
    "diarize",
    # synthesize
    "speed",
    "cloning",
    "instructions",
    # embed
    "token_input",
    "truncate",
    "prompts",
    "title",
]


FEATURES: tuple[Feature, ...] = get_args(Feature)

OWN_FEATURE = re.compile(r"x-[a-z0-9][a-z0-9._-]{0,62}")


def unknown_features(features: Iterable[str]) -> list[str]:
    """Return those that nobody knows, and that are no plugin's own."""
    return [feature for feature in features if feature not in FEATURES and not OWN_FEATURE.fullmatch(feature)]


class ModelCard(Wire):
    """The facts about a loaded model. A hook is the upper bound of what a backend can do; the card can only narrow it."""

    abilities: tuple[Ability, ...] | None = None
    """None means every hook the backend implements."""
    inputs: tuple[Input, ...] = ("text",)
    features: tuple[str, ...] = ("streaming",)
    """What of a request is honoured beyond the plain case, each a `Feature`; the host refuses a request that needs more.

    A feature of the plugin's own begins with `x-`: the host lists it in /v1/models, for clients that look for it.
    """
    context_length: int | None = None
    """Tokens."""
    dimensions: tuple[int, ...] = ()
    """Lengths of vector the model was trained for, the usual one first."""
    voices: tuple[str, ...] = ()
    personas: tuple[str, ...] = ()
    """Those it summarises for, as they were when it was loaded."""
    reads: tuple[str, ...] = ()
    """Whole paths of files and folders it reads anew for every request, such as personas: when something in them changes, the
    host gives no kept summary again that was made before. It sees by itself which other models are asked."""
    languages: tuple[str, ...] = ()
    """ISO 639-1; empty means unknown, not none."""
    sample_rate: int | None = None
    """Hz, of the audio that is made."""
    concurrency: Annotated[int, Meta(ge=1)] = 1
    """How many calls the backend takes at once, `tokenize` and `voices` left out; further ones wait in the host."""
    size_bytes: int | None = None
    """Of the weights, on disk."""
    device: str = "cpu"
