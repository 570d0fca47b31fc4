"""What a request needs of a model beyond the plain case; compared with the model's card before it is sent."""

from collections.abc import Callable, Iterator
from typing import Any

from modelhost.authors.languages import code_of
from modelhost.contract.card import Feature, Input, ModelCard
from modelhost.contract.errors import BadInputError, RequestError
from modelhost.contract.structs import Struct
from modelhost.contract.types import (
    AudioPart,
    CompactionPart,
    DocumentPart,
    EmbedRequest,
    GenerateRequest,
    ImagePart,
    Message,
    SummarizeRequest,
    SynthesizeRequest,
    TokenizeRequest,
    TranscribeRequest,
)

LISTED = 20
"""Names of voices or languages an error lists; espeak-ng alone has over a hundred."""


class Need(Struct):
    """One thing a request asks for: the field that asks, and the feature or kind of input it takes."""

    param: str
    feature: Feature | None = None
    input: Input | None = None
    words: str = ""
    """What it is, where the field's name does not say it."""

    def met_by(self, card: ModelCard) -> bool:
        """Whether a model can do it."""
        return (self.feature is None or self.feature in card.features) and (self.input is None or self.input in card.inputs)

    @property
    def what(self) -> str:
        """Say it in words."""
        return self.words or (f"{self.input} input" if self.input else self.param)


class Ask(Struct):
    """A field of a request that takes a feature as soon as it asks for something."""

    field: str
    feature: Feature
    asks: Callable[[Any], bool] = bool
    """Whether a value asks for something. A penalty or bias of zero changes nothing, so nobody has to be able to do it."""
    param: str = ""
    """What callers know the field by, where that is another name."""
    words: str = ""


def _is_there(value: object) -> bool:
    return value is not None


_PREFILL = (
    Ask(field="continue_final_message", feature="prefill"),
    Ask(field="add_generation_prompt", feature="prefill", asks=lambda wanted: wanted is False),
)

ASKS: dict[type, tuple[Ask, ...]] = {
    GenerateRequest: (
        Ask(field="top_k", feature="top_k"),
        Ask(field="min_p", feature="min_p"),
        Ask(field="repeat_penalty", feature="repeat_penalty"),
        Ask(field="presence_penalty", feature="presence_penalty"),
        Ask(field="frequency_penalty", feature="frequency_penalty"),
        Ask(field="logit_bias", feature="logit_bias"),
        Ask(field="ignore_eos", feature="ignore_eos"),
        Ask(field="tools", feature="tools"),
        Ask(field="logprobs", feature="logprobs"),
        Ask(field="prompt_logprobs", feature="prompt_logprobs", param="echo", words="the probabilities of an echoed prompt"),
        Ask(field="max_tokens", feature="prompt_logprobs", asks=lambda most: most == 0, words="prompts without an answer"),
        Ask(field="suffix", feature="suffix"),
        Ask(field="enable_safety", feature="safety"),
        Ask(field="prompt", feature="completion", asks=_is_there),
        Ask(field="n", feature="n", asks=lambda n: n > 1),
        Ask(field="reasoning_effort", feature="reasoning", asks=lambda effort: effort not in (None, "none")),
        *_PREFILL,
    ),
    TokenizeRequest: _PREFILL,
    TranscribeRequest: (
        Ask(
            field="task",
            feature="translate",
            asks=lambda task: task == "translate",
            words="translation, which multilingual models have",
        ),
        Ask(field="word_timestamps", feature="word_timestamps", param="timestamp_granularities"),
        Ask(field="hotwords", feature="hotwords"),
        Ask(field="diarize", feature="diarize"),
        Ask(field="audio", feature="live", asks=lambda audio: audio is None),
    ),
    SynthesizeRequest: (
        Ask(field="speed", feature="speed", asks=lambda speed: speed != 1.0),
        Ask(field="samples", feature="cloning", param="references"),
        Ask(field="instructions", feature="instructions"),
    ),
    EmbedRequest: (
        Ask(
            field="inputs",
            feature="token_input",
            asks=lambda inputs: any(not isinstance(text, str) for text in inputs),
            param="input",
        ),
        Ask(field="overlong", feature="truncate", asks=lambda overlong: overlong == "truncate", param="truncate"),
        Ask(field="prompt_name", feature="prompts", asks=_is_there),
        Ask(field="title", feature="title", asks=_is_there),
    ),
    SummarizeRequest: (Ask(field="enable_safety", feature="safety"),),
}
"""Beside these, `response_format` takes the feature that its kind is called, and parts of messages take an input."""


def needs(request: Any) -> Iterator[Need]:
    """List what a request needs."""
    for ask in ASKS.get(type(request), ()):
        if ask.asks(getattr(request, ask.field)):
            yield Need(param=ask.param or ask.field, feature=ask.feature, words=ask.words)
    if isinstance(request, GenerateRequest) and request.response_format:
        yield Need(param="response_format", feature=request.response_format.kind)
    if isinstance(request, (GenerateRequest, TokenizeRequest)):
        yield from _of_messages(request.messages)


def _of_messages(messages: tuple[Message, ...]) -> Iterator[Need]:
    for message in messages:
        for part in message.content:
            if isinstance(part, ImagePart):
                yield Need(param="messages", input="image")
            elif isinstance(part, AudioPart):
                yield Need(param="messages", input="audio")
            elif isinstance(part, DocumentPart):
                yield Need(param="messages", input="document")
            elif isinstance(part, CompactionPart):
                yield Need(param="messages", feature="compaction", words="a compacted conversation")


def ruled_out(card: ModelCard, request: Any) -> RequestError | None:
    """Return the error for a value that a model's card does not have; None where it has it, or says nothing of such values."""
    match request:
        case EmbedRequest(dimensions=int(size)) if card.dimensions and size not in card.dimensions:
            known = " or ".join(map(str, card.dimensions))
            return BadInputError(f"this model's vectors have {known} dimensions; ask for these", param="dimensions")
        case SynthesizeRequest(voice=str(name)) if _fixed_voices(card) and name not in (*card.voices, "default"):
            known = _some(card.voices)
            return BadInputError(f"there is no voice {name!r:.60}; there are: {known}", param="voice", code="unknown_voice")
        case TranscribeRequest(language=str(name)) if card.languages and not _known(name, card.languages):
            known = _some(card.languages)
            return BadInputError(f"this model does not know the language {name!r:.20}; it knows {known}", param="language")
    return None


def _fixed_voices(card: ModelCard) -> bool:
    """Whether the card's voices are all there are: with the hook `voices` some may have been added since."""
    return bool(card.voices) and "voices" not in (card.abilities or ())


def _known(language: str, languages: tuple[str, ...]) -> bool:
    plain = language.strip().lower().replace("_", "-")
    return any(name in languages for name in (language, plain, plain.partition("-")[0], code_of(language)))


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
