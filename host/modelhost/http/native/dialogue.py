"""`/v1/dialogue`: something said or written in, a reply out, written and spoken; whole, or step by step while it is made."""

import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from litestar import Request, Response, delete, post
from msgspec import Meta

from modelhost.authors.languages import spoken
from modelhost.config import Config
from modelhost.contract.errors import BadInputError, ModelhostError
from modelhost.contract.event_stream import ClosableEvents
from modelhost.contract.log import place_of
from modelhost.contract.structs import Struct
from modelhost.contract.types import AudioFormat, FinishReason, GenerateRequest, SynthesizeRequest, TranscribeRequest
from modelhost.dialogue import Dialogue, Turn
from modelhost.dialogue.events import (
    AssistantText,
    Degraded,
    DialogueEvent,
    Metadata,
    Models,
    SpeechChunk,
    Timings,
    Transcript,
    TurnDone,
    TurnUsage,
)
from modelhost.http.native.dialect import route_spec
from modelhost.http.routing.audio.sound import Sound
from modelhost.http.routing.audio.speech import SampleRate, named_voice
from modelhost.http.routing.bodies.form import Upload
from modelhost.http.routing.calls import details_of
from modelhost.http.routing.disconnect import CancelOnDisconnect
from modelhost.http.routing.errors import as_modelhost_error, with_client_names
from modelhost.http.routing.forms import FormReader
from modelhost.http.routing.in_flight import InFlightRequest, in_flight_of
from modelhost.http.routing.json_body import host_of
from modelhost.http.routing.json_response import JsonResponse
from modelhost.http.routing.sampling import Limit, limited
from modelhost.http.routing.spec import Example
from modelhost.http.routing.spelling import Spelt
from modelhost.http.routing.statuses import OK
from modelhost.http.routing.streaming import byte_stream
from modelhost.observability.logs import host_log

NDJSON = "application/x-ndjson"

SessionId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]

_log = host_log()


class DialogueForm(Struct):
    """`POST /v1/dialogue`, as JSON or as a form: `text`, or a recording as the file `file` or as base64 in `audio`."""

    spelt: ClassVar[Spelt] = {
        "messages": ("text", "file", "audio"),
        "audio": ("file", "audio"),
        "generate_model": ("generate_model", "model"),
        "voice": ("voice", "reference_id"),
    }

    text: str | None = None
    """What is said to the model, where it is written and not spoken."""
    audio: str | None = None
    """A recording in base64, of any usual format."""
    session_id: SessionId | None = None
    """That of an earlier answer, to go on where it ended; without one a new dialogue begins."""
    instructions: str | None = None
    """What the model is told before, in place of `[dialogue] audio_prompt` or `text_prompt`."""
    transcribe_model: str | None = None
    generate_model: str | None = None
    model: str | None = None
    """Another name of `generate_model`."""
    synthesize_model: str | None = None
    voice: str | None = None
    reference_id: str | None = None
    """Another name of `voice`."""
    format: AudioFormat | None = None
    """Of the spoken reply; by default `[speech] format`, which is `wav`."""
    sample_rate: SampleRate | None = None
    """Hz of the spoken reply; by default `[speech] sample_rate`, else the voice's own."""
    language: str | None = None
    """Of the recording, by code or name; without it, or with `auto`, the model finds out."""
    prompt: str | None = None
    """What the recording is about, or how words in it are spelt."""
    max_tokens: Limit | None = None
    """By default `[dialogue] max_tokens`; -1 for as many as the model can."""
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    stream_audio: bool = False
    """Answer with events, a line of JSON each, and the sound while it is made."""
    stream_text: bool = False
    """With `stream_audio` or without: give the reply while it is written, and speak each sentence as it is complete."""
    speak: bool = True
    """Speak the reply; without it the answer is in writing alone."""

    def to_turn(self, files: dict[str, list[Upload]], config: Config) -> Turn:
        """Return what is asked for. Raises `BadInputError` unless there is either a text or a recording."""
        recording = self._recording(files)
        default = config.dialogue.audio_prompt if recording else config.dialogue.text_prompt
        return Turn(
            session=self.session_id or secrets.token_urlsafe(16),
            text=self.text or "",
            recording=recording,
            system=self.instructions or default,
            generate=GenerateRequest(
                max_tokens=limited(self.max_tokens, config.dialogue.max_tokens), temperature=self.temperature
            ),
            synthesize=self._speech(config) if self.speak else None,
            models=Models(
                transcribe=self.transcribe_model,
                generate=self.generate_model or self.model,
                synthesize=self.synthesize_model,
            ),
            live=self.stream_text,
        )

    def _recording(self, files: dict[str, list[Upload]]) -> TranscribeRequest | None:
        # A form in a browser sends an empty file where none was chosen.
        found = [upload for name in ("file", "audio") for upload in files.get(name, ()) if upload.audio.size]
        has_text = bool(self.text and self.text.strip())
        if len(found) > 1 or (found and has_text):
            raise BadInputError("send one recording or one text, not several", param="file" if len(found) > 1 else "text")
        if found:
            (one,) = found
            return TranscribeRequest(audio=one.audio, format=one.format, language=spoken(self.language), prompt=self.prompt)
        if not has_text:
            raise BadInputError(
                "send a recording as the file 'file', or what is said as 'text'", param="file", code="missing_required_parameter"
            )
        return None

    def _speech(self, config: Config) -> SynthesizeRequest:
        return SynthesizeRequest(
            text="",
            voice=named_voice(self.voice or self.reference_id),
            format=self.format or config.speech.format,
            sample_rate=self.sample_rate or config.speech.sample_rate,
        )


class Problem(Struct):
    """What went wrong, as in every answer of the host."""

    message: str
    type: str
    param: str | None
    code: str | None

    @classmethod
    def of(cls, error: ModelhostError, in_flight: InFlightRequest) -> "Problem":
        """Return what the body of an answer would say of an error."""
        named = with_client_names(error, in_flight.spelt)
        return cls(**msgspec.to_builtins(in_flight.dialect.body_of(named))["error"])


class TranscriptEvent(Transcript, tag_field="event", tag="transcript"):
    """What was heard."""


class DegradedEvent(Struct, tag_field="event", tag="degraded"):
    """The reply is not spoken, or not to its end; everything else still comes."""

    stage: Literal["synthesize"]
    error: Problem


class ErrorEvent(Struct, tag_field="event", tag="error"):
    """The turn failed after the first event; nothing follows."""

    error: Problem


class DegradedAnswer(Struct):
    """Why the reply is not spoken, or not to its end."""

    stage: Literal["synthesize"]
    error: Problem


class DialogueAnswer(Struct):
    """The whole turn."""

    session_id: str
    """Send it with the next turn, and this one is remembered."""
    transcript: Transcript | None
    """What was heard; null where the turn was written."""
    assistant_text: str
    finish_reason: FinishReason
    audio_base64: str | None
    """The spoken reply; null where there is no sound."""
    format: AudioFormat | None
    media_type: str | None
    sample_rate: int | None
    """Hz."""
    degraded: DegradedAnswer | None
    timings: Timings
    usage: TurnUsage
    models: Models


class ForgottenDialogue(Struct):
    """What has become of a dialogue's memory."""

    session_id: str
    forgotten: bool
    """Whether there was anything to forget."""


_form = FormReader(DialogueForm, files=("file", "audio"), base64_as="audio")

_TURN = {
    "timings": {"transcribe": 0.41, "generate": 0.62, "first_audio": 1.11, "synthesize": 0.1, "total": 1.15},
    "usage": {"input_tokens": 71, "output_tokens": 9, "heard_seconds": 1.7, "spoken_seconds": 1.9},
    "models": {"transcribe": "whisper", "generate": "smollm2-135m", "synthesize": "piper"},
}
_HEARD = {
    "text": "What is the capital of France?",
    "language": "en",
    "language_probability": 0.99,
    "confidence": 0.87,
    "segments": [{"start": 0.0, "end": 1.7, "text": "What is the capital of France?", "confidence": 0.87}],
}
_SOUND = {"format": "wav", "media_type": "audio/wav", "sample_rate": 22050}
_REPLY = {"text": "The capital of France is Paris.", "finish_reason": "stop"}
_STEPS = (
    {"event": "metadata", "session_id": "kitchen", "request_id": "req_1", **_SOUND, "reference_id": None},
    {"event": "transcript", **_HEARD},
    {"event": "assistant_text", **_REPLY},
    {"event": "audio_chunk", "audio_base64": "UklGRg==", "sample_rate": 22050},
    {"event": "done", **_TURN},
)


@post(
    "/v1/dialogue",
    status_code=OK,
    summary="Answer what is said, in speech",
    opt=route_spec(
        "inference",
        tag="Audio",
        body=DialogueForm,
        answer=DialogueAnswer,
        text=NDJSON,
        request_examples={
            "written": Example(summary="A written turn", value={"text": "Say hello.", "session_id": "kitchen"}),
            "streamed": Example(
                summary="Spoken while it is written", value={"text": "Say hello.", "stream_audio": True, "stream_text": True}
            ),
        },
        response_examples={
            "spoken": Example(
                summary="To a spoken turn",
                value={
                    "session_id": "kitchen",
                    "transcript": _HEARD,
                    "assistant_text": _REPLY["text"],
                    "finish_reason": "stop",
                    "audio_base64": "UklGRg==",
                    **_SOUND,
                    "degraded": None,
                    **_TURN,
                },
            )
        },
        events="".join(msgspec.json.encode(step).decode() + "\n" for step in _STEPS),
    ),
)
async def dialogue(request: Request[Any, Any, Any]) -> Response[Any]:
    """A recording or a text in; its transcript, the reply and the reply's sound out.

    Recordings come as JSON with base64, or as a multipart form with the same fields and the file `file`.

    With `stream_audio` or `stream_text` the answer is a line of JSON an event: `metadata`, `transcript` (of what was spoken),
    `assistant_delta`… (with `stream_text`), `assistant_text`, `audio_chunk`…, `done`. With `stream_text` the sound comes
    between the deltas. Of Markdown in a reply is spoken what it says, without its marks. `degraded` in place of (more) sound
    says why there is none; `error` in place of `done` says what failed.
    """
    payload, files, headers = await _form.read(request)
    turn = payload.to_turn(files, host_of(request).config)
    steps = _dialogue_of(request).reply(turn, details_of(request))
    in_flight = in_flight_of(request.scope)
    if payload.stream_audio or payload.stream_text:
        return await byte_stream(request, _lines(steps, in_flight), headers, NDJSON)
    with CancelOnDisconnect(request):
        answer, sound = await _whole(steps, in_flight)
    return sound.answer(answer, headers) if sound.size else JsonResponse(answer, headers=headers)


@delete(
    "/v1/dialogue/{session_id:str}",
    status_code=OK,
    summary="Forget a dialogue",
    opt=route_spec("inference", tag="Audio", answer=ForgottenDialogue),
)
async def forget_dialogue(request: Request[Any, Any, Any], session_id: str) -> JsonResponse:
    """Drop what is remembered of a dialogue of your own key. What is being answered right now is remembered when it is done."""
    caller = in_flight_of(request.scope).caller
    forgotten = await _dialogue_of(request).memory.forget(caller.name if caller else "", session_id)
    return JsonResponse(ForgottenDialogue(session_id=session_id, forgotten=forgotten))


def _dialogue_of(request: Request[Any, Any, Any]) -> Dialogue:
    return host_of(request).dialogue


async def _lines(steps: ClosableEvents[DialogueEvent], in_flight: InFlightRequest) -> AsyncGenerator[bytes, None]:
    """Return each step as a line; a failure is one too, unless it comes first and can have its status."""
    begun = False
    try:
        async with aclosing(steps):
            async for step in steps:
                yield _line(_event(step, in_flight))
                begun = True
    except Exception as error:
        if not begun:
            raise
        known = as_modelhost_error(error)
        if known is not error:
            _log.error("request failed", request_id=in_flight.request_id, error=type(error).__name__, place=place_of(error))
        yield _line(ErrorEvent(error=Problem.of(known, in_flight)))


def _event(step: DialogueEvent, in_flight: InFlightRequest) -> Struct:
    match step:
        case Transcript():
            return TranscriptEvent(**msgspec.structs.asdict(step))
        case Degraded():
            return DegradedEvent(stage=step.stage, error=Problem.of(step.error, in_flight))
    return step


def _line(event: Struct) -> bytes:
    return msgspec.json.encode(event) + b"\n"


async def _whole(steps: ClosableEvents[DialogueEvent], in_flight: InFlightRequest) -> tuple[DialogueAnswer, Sound]:
    """Put the steps together; the sound is beside the answer."""
    found: dict[type, Any] = {}
    sound = Sound()
    rate: int | None = None
    async with aclosing(steps):
        async for step in steps:
            if isinstance(step, SpeechChunk):
                await sound.add(step.data)
                rate = rate or step.sample_rate
            else:
                found[type(step)] = step
    metadata: Metadata = found[Metadata]
    written: AssistantText = found[AssistantText]
    degraded: Degraded | None = found.get(Degraded)
    done: TurnDone = found[TurnDone]
    await sound.finish(wav=metadata.format == "wav")
    answer = DialogueAnswer(
        session_id=metadata.session_id,
        transcript=found.get(Transcript),
        assistant_text=written.text,
        finish_reason=written.finish_reason,
        audio_base64="" if sound.size else None,
        format=metadata.format,
        media_type=metadata.media_type,
        sample_rate=rate or metadata.sample_rate,
        degraded=DegradedAnswer(stage=degraded.stage, error=Problem.of(degraded.error, in_flight)) if degraded else None,
        timings=done.timings,
        usage=done.usage,
        models=done.models,
    )
    return answer, sound
