"""The card of an upstream's model: what the operator says of it, over what OpenAI's usual models can."""

from collections.abc import Iterator

from modelhost import Feature, ModelCard

from modelhost_openai_api.options import Offer, Offered, OpenaiApiOptions

PCM_RATE = 24_000
"""Hz, of the `pcm` of OpenAI's speech models (https://platform.openai.com/docs/guides/text-to-speech)."""

_USUAL: dict[Offered, tuple[Offer, ...]] = {
    "generate": (
        "tools",
        "json_object",
        "json_schema",
        "logprobs",
        "n",
        "logit_bias",
        "presence_penalty",
        "frequency_penalty",
    ),
    "transcribe": ("translate", "word_timestamps"),
    "synthesize": ("speed",),
    "embed": ("token_input",),
}
"""As of `gpt-4.1`, `whisper-1`, `tts-1` and `text-embedding-3-small`."""


def card_of(options: OpenaiApiOptions) -> ModelCard:
    """Return the card. Nobody asks the upstream: OpenAI's API has no words for what a model can do."""
    speaks_pcm = "synthesize" in options.abilities and options.speech_format == "pcm"
    return ModelCard(
        abilities=options.abilities,
        inputs=options.inputs,
        features=tuple(dict.fromkeys((*_always(options), *(_usual(options) if options.features is None else options.features)))),
        context_length=options.context_length,
        dimensions=options.dimensions,
        voices=options.voices,
        languages=options.languages,
        sample_rate=PCM_RATE if speaks_pcm else None,
        concurrency=options.concurrency,
        device="remote",
    )


def _always(options: OpenaiApiOptions) -> Iterator[Feature]:
    """Yield what every upstream of an ability can."""
    yield "streaming"
    if "generate" in options.abilities:
        yield "stop"
    if options.extensions and "embed" in options.abilities:
        yield from ("prompts", "title")


def _usual(options: OpenaiApiOptions) -> list[Offer]:
    found = [feature for ability in options.abilities for feature in _USUAL[ability]]
    if options.response_format != "verbose_json":
        # Models without verbose_json neither tell times nor translate.
        found = [feature for feature in found if feature not in _USUAL["transcribe"]]
    return found
