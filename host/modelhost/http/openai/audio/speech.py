"""`POST /v1/audio/speech`: a text in, its sound out while it is being made."""

import base64
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, ClassVar, Literal

from litestar import Request, Response, post

from modelhost.authors.sentences import LONGEST
from modelhost.contract.event_stream import ClosableEvents
from modelhost.contract.structs import Struct
from modelhost.contract.types import AudioChunk, AudioFormat, Done, SynthesizeEvent, SynthesizeRequest, Usage
from modelhost.contract.types.synthesize import MEDIA_TYPES
from modelhost.http.openai.dialect import route_spec
from modelhost.http.routing.audio.speech import SpeechFields, Speed, audible, collect_sound, named_voice, sound_bytes
from modelhost.http.routing.calls import reading, start_call
from modelhost.http.routing.dialect import server_sent_event
from modelhost.http.routing.json_body import JsonBody, host_of
from modelhost.http.routing.spec import Example
from modelhost.http.routing.spelling import Spelt
from modelhost.http.routing.statuses import OK
from modelhost.http.routing.streaming import byte_stream, event_stream

PCM_RATE = 24_000
"""Hz of OpenAI's `pcm`, whose clients know no other; a request may name another `sample_rate`."""


class VoiceId(Struct):
    """A voice as OpenAI names those one has made."""

    id: str


class SpeechBody(SpeechFields, kw_only=True):
    """`POST /v1/audio/speech`."""

    spelt: ClassVar[Spelt] = {"text": ("input",), "format": ("response_format",)}

    input: str
    """What is to be said."""
    voice: str | VoiceId | None = None
    response_format: AudioFormat = "mp3"
    speed: Speed = 1.0
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


_body = JsonBody(SpeechBody)


@post(
    "/v1/audio/speech",
    status_code=OK,
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
    payload, headers = await _body.read(request)
    spoken = payload.to_request(host_of(request).config.speech.sample_rate)
    call = start_call(request, "synthesize", payload.model, spoken)
    if payload.stream_format == "sse":
        return await event_stream(request, _as_events(call), headers)
    media_type = MEDIA_TYPES[spoken.format]
    if payload.is_streamed:
        return await byte_stream(request, sound_bytes(call), headers, media_type)
    async with reading(request, call) as events:
        sound, _, _ = await collect_sound(events, spoken.format)
    return sound.plain(media_type, headers)


async def _as_events(call: ClosableEvents[SynthesizeEvent]) -> AsyncGenerator[bytes, None]:
    async with aclosing(audible(call)) as events:
        async for one in events:
            if isinstance(one, AudioChunk):
                yield server_sent_event(SpeechDelta(audio=base64.b64encode(one.data).decode()))
            elif isinstance(one, Done):
                yield server_sent_event(SpeechDone(usage=SpeechUsage.of(one.usage)))
