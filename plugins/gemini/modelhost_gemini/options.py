"""What may stand under [models.NAME.options] of a Gemini model."""

import re
from typing import Annotated, Literal

from modelhost import Options
from modelhost.authors.upstream import is_local_url
from msgspec import Meta

Threshold = Literal["OFF", "BLOCK_NONE", "BLOCK_ONLY_HIGH", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_LOW_AND_ABOVE"]
"""Google's words for how likely harm must be before an answer is stopped."""

Kind = Literal["text", "audio", "image", "document"]
"""What a message may hold."""

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

Offer = Literal[
    "tools",
    "reasoning",
    "logprobs",
    "json_object",
    "json_schema",
    "n",
    "top_k",
    "presence_penalty",
    "frequency_penalty",
    "safety",
]
"""The features of a card that Gemini's API has words for."""

_BASE_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")

Positive = Annotated[int, Meta(ge=1)]


class Safety(Options):
    """The threshold of each of Google's categories of harm."""

    harassment: Threshold = "BLOCK_MEDIUM_AND_ABOVE"
    hate_speech: Threshold = "BLOCK_MEDIUM_AND_ABOVE"
    sexually_explicit: Threshold = "BLOCK_MEDIUM_AND_ABOVE"
    dangerous_content: Threshold = "BLOCK_MEDIUM_AND_ABOVE"


class GeminiOptions(Options):
    """Which model, where it is asked, and what holds where a request says nothing."""

    model: Annotated[str, Meta(pattern=r"^(?:models/|tunedModels/)?[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """What Google calls it: `gemini-2.5-flash`."""
    api_key: Annotated[str, Meta(pattern=r"^[\x20-\x7e\r\n]*$")]
    """Write `"${GEMINI_API_KEY}"`: the key itself belongs in the environment."""
    base_url: str = "https://generativelanguage.googleapis.com"
    """What comes before the API's version: http:// or https://, without user, password and query."""
    api_version: Annotated[str, Meta(pattern=r"^[A-Za-z0-9]+$")] | None = None
    """`v1`, `v1beta`; by default what the SDK uses."""
    timeout: Annotated[float, Meta(gt=0)] = 300.0
    """Seconds the other side may say nothing, before its answer and within it."""
    concurrency: Positive = 8
    """Requests at once; further ones wait in the host."""

    max_tokens: Positive | None = None
    """Length of an answer, thoughts included; by default the model's own limit."""
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    reasoning_effort: Effort | None = None
    """How much to think; by default the model decides, and its thoughts are not told."""
    thinking: Literal["budget", "level"] | None = None
    """How the model takes its effort, in tokens or in words; by default tokens for `gemini-2…`, words for all later ones."""
    safety: Safety = Safety()
    """What is sent with a request that asks for safety (`enable_safety`); with others nothing is, so Google's defaults hold."""

    features: tuple[Offer, ...] = (
        "tools",
        "reasoning",
        "json_object",
        "json_schema",
        "n",
        "top_k",
        "presence_penalty",
        "frequency_penalty",
        "safety",
    )
    """What the model can do beyond the plain case; `logprobs` is the one to add where a model has them."""
    inputs: Annotated[tuple[Kind, ...], Meta(min_length=1)] = ("text", "audio", "image", "document")
    """What messages may hold."""
    context_length: Positive = 1_048_576
    """Tokens, as of Gemini 1.5 Flash and all later models; what the card says, Google does the counting."""

    def __post_init__(self) -> None:
        """Raise ValueError for a base URL that is none."""
        if not _BASE_URL.fullmatch(self.base_url):
            raise ValueError("base_url must begin with http:// or https://, and have no user, password or query")

    @property
    def server_is_here(self) -> bool:
        """Return whether the base URL names this machine, by a loopback address or as localhost."""
        return is_local_url(self.base_url)
