"""`POST /v1/text-to-speech`: a text in, its sound out, as older clients ask for it."""

from typing import Any, ClassVar

from litestar import Request, Response, post

from modelhost.contract.structs import Struct
from modelhost.contract.types import AudioFormat, SynthesizeRequest, VoiceSample
from modelhost.contract.types.synthesize import MEDIA_TYPES
from modelhost.http.native.dialect import route_spec
from modelhost.http.routing.audio.speech import SpeechFields, Speed, collect_sound, named_voice, sound_bytes
from modelhost.http.routing.bodies.json_text import made
from modelhost.http.routing.bodies.media import Media
from modelhost.http.routing.calls import reading, start_call
from modelhost.http.routing.json_body import JsonBody, host_of
from modelhost.http.routing.spec import Example
from modelhost.http.routing.spelling import Spelt
from modelhost.http.routing.statuses import OK
from modelhost.http.routing.streaming import byte_stream


class Reference(Struct):
    """A recording of a voice to imitate, with the words it says."""

    audio: str
    """The recording in base64, of any usual format."""
    text: str = ""


class TextToSpeechBody(SpeechFields, kw_only=True):
    """`POST /v1/text-to-speech`."""

    spelt: ClassVar[Spelt] = {"voice": ("reference_id",), "samples": ("references",)}

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
    speed: Speed = 1.0

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


_body = JsonBody(TextToSpeechBody, base64_in=("audio",))


@post(
    "/v1/text-to-speech",
    status_code=OK,
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
    payload, headers = await _body.read(request)
    speech = host_of(request).config.speech
    spoken = await made(request, payload.to_request, speech.format, speech.sample_rate, Media.of(request))
    call = start_call(request, "synthesize", payload.model, spoken)
    media_type = MEDIA_TYPES[spoken.format]
    if payload.stream:
        return await byte_stream(request, sound_bytes(call), headers, media_type)
    async with reading(request, call) as events:
        sound, rate, usage = await collect_sound(events, spoken.format)
    answer = TextToSpeechAnswer(
        audio_base64="",
        format=spoken.format,
        media_type=media_type,
        sample_rate=rate,
        duration=round(usage.audio_seconds, 3),
        reference_id=spoken.voice,
        model=call.model,
    )
    return sound.answer(answer, headers)
