"""`/v1/audio/speech` and `/v1/text-to-speech`: a text in, its sound out while it is being made."""

import base64
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, Literal, cast

from litestar import Request, Response, post
from msgspec import Meta

from modelhost.authors.sentences import LONGEST
from modelhost.contract.errors import BadInputError
from modelhost.contract.structs import Struct
from modelhost.contract.types import AudioChunk, AudioFormat, Done, SynthesizeEvent, SynthesizeRequest, Usage, VoiceSample
from modelhost.contract.types.synthesize import MEDIA_TYPES
from modelhost.http.routing.audio_response import Sound
from modelhost.http.routing.bodies.json_text import made
from modelhost.http.routing.bodies.media import Media
from modelhost.http.routing.disconnect import CancelOnDisconnect
from modelhost.http.routing.json_body import JsonBody, context_of, host_of
from modelhost.http.routing.sampling import Limit, Seed, limited, seed_of
from modelhost.http.routing.spec import Example, route_spec
from modelhost.http.routing.streaming import byte_stream, event, event_stream

PCM_RATE = 24_000
"""Hz of OpenAI's `pcm`, whose clients know no other; a request may name another `sample_rate`."""

SampleRate = Annotated[int, Meta(ge=8000, le=192_000)]


def named_voice(name: str | None) -> str | None:
    """Return the voice a client names; `default` is the one of the configuration, like none."""
    return None if name in (None, "", "default") else name


class Speaking(Struct):
    """What both ways to ask for speech have in common; what is left out, the model's configuration decides."""

    model: str | None = None
    sample_rate: SampleRate | None = None
    """Hz of the sound; by default `[speech] sample_rate`, else the voice's own."""
    seed: Seed | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Meta(ge=0.5, le=2)] | None = None
    chunk_length: Annotated[int, Meta(ge=1)] | None = None
    """Characters a model speaks in one go, where it can be told."""
    max_tokens: Limit | None = None
    normalize: bool | None = None

    def settings(self) -> dict[str, Any]:
        """Return these as fields of a request."""
        names = ("temperature", "top_p", "repetition_penalty", "chunk_length", "normalize")
        chosen = {"seed": seed_of(self.seed), "max_tokens": limited(self.max_tokens)}
        return {**chosen, **{name: getattr(self, name) for name in names}}


class VoiceId(Struct):
    """A voice as OpenAI names those one has made."""

    id: str


class SpeechBody(Speaking, kw_only=True):
    """`POST /v1/audio/speech`."""

    input: str
    """What is to be said."""
    voice: str | VoiceId | None = None
    response_format: AudioFormat = "mp3"
    speed: Annotated[float, Meta(ge=0.25, le=4)] = 1.0
    instructions: str | None = None
    """How to say it, for models that understand that."""
    stream_format: Literal["audio", "sse"] = "audio"
    stream: bool | None = None
    """Whether the sound is sent while it is made; by default it is, but for `wav` of a text of up to 200 characters.

    What comes whole says how long it is: a WAV file in its head, too.
    """

    @property
    def is_streamed(self) -> bool:
        """Whether to send the sound while it is made."""
        if self.stream is None:
            return self.response_format != "wav" or len(self.input) > LONGEST
        return self.stream

    def to_request(self, default_rate: int | None) -> SynthesizeRequest:
        """Return what a backend is asked."""
        rate = self.sample_rate or (PCM_RATE if self.response_format == "pcm" else default_rate)
        return SynthesizeRequest(
            text=self.input,
            voice=named_voice(self.voice.id if isinstance(self.voice, VoiceId) else self.voice),
            instructions=self.instructions or None,
            speed=self.speed,
            format=self.response_format,
            sample_rate=rate,
            **self.settings(),
        )


class SpeechDelta(Struct, tag_field="type", tag="speech.audio.delta"):
    """More of the sound, in base64."""

    audio: str


class SpeechUsage(Struct):
    """What it cost, in tokens where the model counts them."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    audio_seconds: float

    @classmethod
    def of(cls, usage: Usage) -> "SpeechUsage":
        """Return a backend's usage in OpenAI's words."""
        tokens = usage.input_tokens + usage.output_tokens
        return cls(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            total_tokens=tokens,
            audio_seconds=round(usage.audio_seconds, 3),
        )


class SpeechDone(Struct, tag_field="type", tag="speech.audio.done"):
    """The end of the sound."""

    usage: SpeechUsage


_speech = JsonBody(SpeechBody)


@post(
    "/v1/audio/speech",
    status_code=200,
    summary="Say a text",
    opt=route_spec(
        "inference",
        tag="Audio",
        body=SpeechBody,
        media=tuple(MEDIA_TYPES.values()),
        event=(SpeechDelta, SpeechDone),
        request_examples={
            "speech": Example(
                summary="A sentence",
                value={"model": "piper", "input": "Hello, world.", "voice": "default", "response_format": "wav"},
            )
        },
        events=(
            'data: {"type":"speech.audio.delta","audio":"UklGRg=="}\n\n'
            'data: {"type":"speech.audio.done","usage":'
            '{"input_tokens":0,"output_tokens":0,"total_tokens":0,"audio_seconds":1.1}}\n\n'
        ),
    ),
)
async def speech(request: Request[Any, Any, Any]) -> Response[Any]:
    """OpenAI's speech: sound while it is made, in six formats, or as events with base64."""
    asked, headers = await _speech.read(request)
    host = host_of(request)
    wanted = asked.to_request(host.config.speech.sample_rate)
    events = host.router.call("synthesize", asked.model, wanted, context_of(request))
    if asked.stream_format == "sse":
        return await event_stream(request, _as_events(events), headers)
    media_type = MEDIA_TYPES[wanted.format]
    if asked.is_streamed:
        return await byte_stream(request, _sound(events), headers, media_type)
    with CancelOnDisconnect(request):
        sound, _, _ = await collected(events, wanted.format)
    return sound.plain(media_type, headers)


async def _sound(events: AsyncIterator[SynthesizeEvent]) -> AsyncIterator[bytes]:
    async with aclosing(cast(Any, events)):
        async for one in events:
            if isinstance(one, AudioChunk):
                yield one.data


async def _as_events(events: AsyncIterator[SynthesizeEvent]) -> AsyncIterator[bytes]:
    async with aclosing(cast(Any, events)):
        async for one in events:
            if isinstance(one, AudioChunk):
                yield event(SpeechDelta(audio=base64.b64encode(one.data).decode()))
            elif isinstance(one, Done):
                yield event(SpeechDone(usage=SpeechUsage.of(one.usage)))


class Reference(Struct):
    """A recording of a voice to imitate, with the words it says."""

    audio: str
    """The recording in base64, of any usual format."""
    text: str = ""


class TextToSpeechBody(Speaking, kw_only=True):
    """`POST /v1/text-to-speech`."""

    text: str
    """What is to be said."""
    format: AudioFormat | None = None
    """By default `[speech] format`, which is `wav`."""
    reference_id: str | None = None
    """The voice; `default` or none is the configured one."""
    references: list[Reference] | None = None
    """Recordings to speak like, for models that clone voices."""
    stream: bool = False
    """Answer with the sound itself, while it is made."""
    speed: Annotated[float, Meta(ge=0.25, le=4)] = 1.0

    def to_request(self, default_format: AudioFormat, default_rate: int | None, media: Media) -> SynthesizeRequest:
        """Return what a backend is asked. Raises `BadInputError` for a recording that is not base64."""
        samples = [
            VoiceSample(audio=media.blob(reference.audio, "references"), text=reference.text)
            for reference in self.references or ()
        ]
        return SynthesizeRequest(
            text=self.text,
            voice=named_voice(self.reference_id),
            samples=tuple(samples),
            speed=self.speed,
            format=self.format or default_format,
            sample_rate=self.sample_rate or default_rate,
            **self.settings(),
        )


class TextToSpeechAnswer(Struct):
    """A text's sound."""

    audio_base64: str
    format: AudioFormat
    media_type: str
    sample_rate: int
    """Hz."""
    duration: float
    """Seconds."""
    reference_id: str | None
    model: str


_text_to_speech = JsonBody(TextToSpeechBody, base64_in=("audio",))


@post(
    "/v1/text-to-speech",
    status_code=200,
    summary="Say a text, answered in JSON",
    opt=route_spec(
        "inference",
        tag="Audio",
        body=TextToSpeechBody,
        answer=TextToSpeechAnswer,
        media=tuple(MEDIA_TYPES.values()),
        request_examples={
            "speech": Example(summary="A sentence", value={"text": "Hello, world.", "format": "wav", "reference_id": "default"})
        },
        response_examples={
            "speech": Example(
                value={
                    "audio_base64": "UklGRg==",
                    "format": "wav",
                    "media_type": "audio/wav",
                    "sample_rate": 22050,
                    "duration": 1.1,
                    "reference_id": None,
                    "model": "piper",
                }
            )
        },
    ),
)
async def text_to_speech(request: Request[Any, Any, Any]) -> Response[Any]:
    """Speech in base64 with its facts; with `stream` the sound itself, while it is made."""
    asked, headers = await _text_to_speech.read(request)
    host = host_of(request)
    speech = host.config.speech
    wanted = await made(request, asked.to_request, speech.format, speech.sample_rate, Media.of(request))
    context = context_of(request)
    events = host.router.call("synthesize", asked.model, wanted, context)
    media_type = MEDIA_TYPES[wanted.format]
    if asked.stream:
        return await byte_stream(request, _sound(events), headers, media_type)
    with CancelOnDisconnect(request):
        sound, rate, usage = await collected(events, wanted.format)
    answer = TextToSpeechAnswer(
        audio_base64="",
        format=wanted.format,
        media_type=media_type,
        sample_rate=rate,
        duration=round(usage.audio_seconds, 3),
        reference_id=wanted.voice,
        model=context.info.model,
    )
    return sound.answer(answer, headers)


async def collected(events: AsyncIterator[SynthesizeEvent], form: AudioFormat) -> tuple[Sound, int, Usage]:
    """Return all of the sound, its rate in Hz, and what it cost."""
    sound = Sound()
    rate, usage = 0, Usage()
    async with aclosing(cast(Any, events)):
        async for one in events:
            if isinstance(one, AudioChunk):
                await sound.add(one.data)
                rate = one.sample_rate
            elif isinstance(one, Done):
                usage = one.usage
    if not sound.size:
        raise BadInputError("there is nothing in the text that can be spoken", code="nothing_to_say")
    await sound.finish(wav=form == "wav")
    return sound, rate, usage
