"""What a request needs of a model beyond the plain case; compared with the model's card before it is sent."""

from collections.abc import Iterator
from typing import Any

from modelhost.card import Feature, Input, ModelCard
from modelhost.structs import Struct
from modelhost.types import (
    AudioPart,
    EmbedRequest,
    GenerateRequest,
    ImagePart,
    Message,
    SummarizeRequest,
    SynthesizeRequest,
    TokenizeRequest,
    TranscribeRequest,
)


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


_GENERATE: tuple[tuple[str, Feature], ...] = (
    ("top_k", "top_k"),
    ("min_p", "min_p"),
    ("repeat_penalty", "repeat_penalty"),
    ("presence_penalty", "presence_penalty"),
    ("frequency_penalty", "frequency_penalty"),
    ("logit_bias", "logit_bias"),
    ("ignore_eos", "ignore_eos"),
    ("tools", "tools"),
    ("logprobs", "logprobs"),
    ("suffix", "suffix"),
    ("enable_safety", "safety"),
)
"""Fields that need a feature as soon as they are set to anything but nothing."""


def needs(request: Any) -> Iterator[Need]:
    """List what a request needs."""
    match request:
        case GenerateRequest():
            yield from _of_generate(request)
        case TranscribeRequest():
            yield from _of_transcribe(request)
        case SynthesizeRequest():
            if request.speed != 1.0:
                yield Need(param="speed", feature="speed")
            if request.samples:
                yield Need(param="references", feature="cloning")
            if request.instructions:
                yield Need(param="instructions", feature="instructions")
        case EmbedRequest():
            if any(not isinstance(text, str) for text in request.inputs):
                yield Need(param="input", feature="token_input")
            if request.overlong == "truncate":
                yield Need(param="truncate", feature="truncate")
        case SummarizeRequest():
            if request.enable_safety:
                yield Need(param="enable_safety", feature="safety")
        case TokenizeRequest():
            yield from _of_last_message(request)
            yield from _of_messages(request.messages)
        case _:
            return


def _of_generate(request: GenerateRequest) -> Iterator[Need]:
    for field, feature in _GENERATE:
        if getattr(request, field):
            # A penalty or bias of zero changes nothing, so nobody has to be able to do it.
            yield Need(param=field, feature=feature)
    if request.prompt is not None:
        yield Need(param="prompt", feature="completion")
    if request.n > 1:
        yield Need(param="n", feature="n")
    if request.reasoning_effort not in (None, "none"):
        yield Need(param="reasoning_effort", feature="reasoning")
    if request.response_format:
        yield Need(param="response_format", feature=request.response_format.kind)
    yield from _of_last_message(request)
    yield from _of_messages(request.messages)


def _of_last_message(request: GenerateRequest | TokenizeRequest) -> Iterator[Need]:
    if request.continue_final_message:
        yield Need(param="continue_final_message", feature="prefill")
    if request.add_generation_prompt is False and not request.continue_final_message:
        yield Need(param="add_generation_prompt", feature="prefill")


def _of_messages(messages: tuple[Message, ...]) -> Iterator[Need]:
    for message in messages:
        for part in message.content:
            if isinstance(part, ImagePart):
                yield Need(param="messages", input="image")
            elif isinstance(part, AudioPart):
                yield Need(param="messages", input="audio")


def _of_transcribe(request: TranscribeRequest) -> Iterator[Need]:
    if request.task == "translate":
        yield Need(param="task", feature="translate", words="translation, which multilingual models have")
    if request.word_timestamps:
        yield Need(param="timestamp_granularities", feature="word_timestamps")
    if request.hotwords:
        yield Need(param="hotwords", feature="hotwords")
    if request.diarize:
        yield Need(param="diarize", feature="diarize")
    if request.audio is None:
        yield Need(param="audio", feature="live")
