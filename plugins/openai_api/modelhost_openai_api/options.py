"""What may stand under [models.NAME.options] of a model that another server runs."""

import re
from typing import Annotated, Literal, TypeVar

from modelhost import Options
from modelhost.authors.upstream import is_local_url
from msgspec import Meta

Offered = Literal["generate", "transcribe", "synthesize", "embed"]
"""The abilities OpenAI's API has words for."""

Endpoint = Literal["chat", "completions", "transcriptions", "translations", "speech", "embeddings"]

PATHS: dict[Endpoint, str] = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "transcriptions": "/audio/transcriptions",
    "translations": "/audio/translations",
    "speech": "/audio/speech",
    "embeddings": "/embeddings",
}
"""Where OpenAI has them, below the base URL."""

Offer = Literal[
    "tools",
    "reasoning",
    "logprobs",
    "json_object",
    "json_schema",
    "completion",
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
    "safety",
    "translate",
    "word_timestamps",
    "hotwords",
    "speed",
    "instructions",
    "token_input",
]
"""The features of a card that this plugin can pass on."""

_BASE_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")

T = TypeVar("T")
Some = Annotated[tuple[T, ...], Meta(min_length=1)]
Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
HeaderName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
HeaderValue = Annotated[str, Meta(pattern=r"^[\t\x20-\x7e]*$")]


class OpenaiApiOptions(Options):
    """Where the upstream is, how it wants to be asked, and what it can do."""

    abilities: Some[Offered]
    """What the upstream's model does: `generate`, `transcribe`, `synthesize`, `embed`; most do one."""
    model: str | None = None
    """What the upstream calls the model; by default its name here."""

    base_url: str = "https://api.openai.com/v1"
    """What comes before the paths: http:// or https://, without user, password and query."""
    paths: dict[Endpoint, Annotated[str, Meta(pattern=r"^/[^\s?#]*$")]] = {}
    """Paths that differ from OpenAI's, by endpoint."""
    api_key: Annotated[str, Meta(pattern=r"^[\x21-\x7e]*$")] | None = None
    """Best as `"${NAME}"`, from the environment; empty is none."""
    api_key_header: HeaderName = "authorization"
    """The header with the key: in `authorization` after `Bearer`, in any other (`api-key`) by itself."""
    headers: dict[HeaderName, HeaderValue] = {}
    """Sent with every request."""
    query: dict[str, str] = {}
    """Added to every URL, such as `api-version`."""
    timeout: Seconds = 600.0
    """Seconds the upstream may say nothing, before its answer and within it."""
    connect_timeout: Seconds = 5.0
    """Seconds until there must be a connection."""
    retries: Annotated[int, Meta(ge=0, le=10)] = 2
    """How often a request is sent again when it was not worked on."""
    concurrency: Positive = 8
    """Requests at once; further ones wait in the host."""
    extensions: bool = False
    """Whether the upstream knows modelhost's fields beyond OpenAI's; if not, requests that need them are refused."""

    features: tuple[Offer, ...] | None = None
    """What the model can do beyond the plain case; by default what OpenAI's usual models can."""
    inputs: Some[Literal["text", "audio", "image", "document"]] = ("text",)
    """What the messages of a chat may hold."""
    context_length: Positive | None = None
    """Tokens."""
    dimensions: tuple[Positive, ...] = ()
    """Lengths of vector there are, the usual one first."""
    voices: tuple[str, ...] = ()
    """Names of the voices there are."""
    languages: tuple[str, ...] = ()
    """ISO 639-1; empty means unknown."""

    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    """What a chat calls the length of its answer; older servers know the second only."""
    response_format: Literal["verbose_json", "json", "text"] = "verbose_json"
    """Of transcripts. Only the first has times; OpenAI's `gpt-4o-transcribe` models need `json`."""
    speech_format: Literal["pcm", "wav"] = "pcm"
    """Of speech. `pcm` is 24 kHz, as OpenAI's is; `wav` says its rate itself."""
    voice: str = "alloy"
    """Who speaks where a request names nobody."""
    batch_size: Positive = 256
    """Inputs embedded in one request."""

    def __post_init__(self) -> None:
        """Raise ValueError for a base URL that is none, and for features that the format of transcripts has no room for."""
        if not _BASE_URL.fullmatch(self.base_url):
            raise ValueError("base_url must begin with http:// or https://; a key goes to api_key, a query to query")
        if self.features and "word_timestamps" in self.features and self.response_format != "verbose_json":
            raise ValueError("word_timestamps need response_format = 'verbose_json'")

    @property
    def upstream_is_here(self) -> bool:
        """Return whether the base URL names this machine by a loopback address or as localhost."""
        return is_local_url(self.base_url)

    def url(self, endpoint: Endpoint) -> str:
        """Return the address of an endpoint, without the query."""
        return self.base_url.rstrip("/") + self.paths.get(endpoint, PATHS[endpoint])

    def all_headers(self) -> dict[str, str]:
        """Return what is sent with every request, the key included; the end of a line is no part of a value."""
        found = {name: value.strip() for name, value in self.headers.items()}
        if key := (self.api_key or "").strip():
            found[self.api_key_header] = f"Bearer {key}" if self.api_key_header.lower() == "authorization" else key
        return found
