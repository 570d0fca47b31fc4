"""Recordings to be written down: the form that every way to ask for it takes, and the answer in each of its formats."""

from typing import Annotated, Any, ClassVar, Literal

from litestar import Request, Response
from msgspec import Meta

from modelhost.authors.languages import spoken
from modelhost.contract.errors import BadInputError, UnsupportedError
from modelhost.contract.types import TranscribeRequest
from modelhost.http.routing.audio.transcript import TEXT_FORMATS, Format, Transcript, answer_of
from modelhost.http.routing.audio.transcript_shapes import (
    TranscriptDelta,
    TranscriptDone,
    Transcription,
    VerboseTranscriptDone,
    VerboseTranscription,
)
from modelhost.http.routing.bodies.form import Upload
from modelhost.http.routing.calls import reading, start_call
from modelhost.http.routing.forms import FormReader, one_file
from modelhost.http.routing.json_response import JsonResponse
from modelhost.http.routing.plugin_options import PluginFields
from modelhost.http.routing.spec import Example
from modelhost.http.routing.spelling import Spelt
from modelhost.http.routing.streaming import event_stream


class RecordingFields(PluginFields):
    """What all ways to have a recording written down have in common."""

    spelt: ClassVar[Spelt] = {
        "task": ("model",),  # the path says what to do, and another model may be able to
        "audio": ("file", "audio"),
    }

    model: str | None = None
    prompt: str | None = None
    """What the recording is about, or how words in it are spelt."""
    response_format: Format = "json"
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    """0 lets the model raise it where its text looks like a loop or a guess."""
    stream: bool = False
    """Answer with events as the text is heard; with `verbose_json` the last has what that format has."""
    hotwords: list[str] | None = None
    """Words to expect."""
    sample_rate: Annotated[int, Meta(ge=8000, le=192_000)] = 16_000
    """Hz, of raw PCM only: 16-bit, little-endian, mono, with `format` `pcm`."""
    format: str | None = None
    """What the recording is, where its name does not say; its content decides."""


class TranscriptionForm(RecordingFields):
    """`POST /v1/audio/transcriptions`. The recording is the file `file`, or base64 in `audio`."""

    spelt: ClassVar[Spelt] = {
        **RecordingFields.spelt,
        "language": ("language", "languages"),
        "hotwords": ("hotwords", "keywords"),
        "word_timestamps": ("timestamp_granularities",),
    }

    language: str | None = None
    """By code or name: `en`, `en-US`, `eng`, `English`; without it, or with `auto`, the model finds out."""
    languages: list[str] | None = None
    timestamp_granularities: list[Literal["word", "segment"]] | None = None
    """What `verbose_json` has; `segment` unless said otherwise."""
    keywords: list[str] | None = None
    """OpenAI's word for `hotwords`."""
    include: list[str] | None = None
    chunking_strategy: Any = None
    known_speaker_names: list[str] | None = None
    known_speaker_references: list[str] | None = None


_form = FormReader(TranscriptionForm, files=("file", "audio"), base64_as="audio")

SPEC: dict[str, Any] = {
    "tag": "Audio",
    "files": ("file",),
    "answer": (Transcription, VerboseTranscription),
    "media": tuple(form.media_type for form in TEXT_FORMATS.values()),
    "event": (TranscriptDelta, TranscriptDone, VerboseTranscriptDone),
    "response_examples": {
        "text": Example(value={"text": "Hello, world.", "usage": {"type": "duration", "seconds": 1.4}}),
    },
    "events": (
        'data: {"type":"transcript.text.delta","delta":"Hello, "}\n\n'
        'data: {"type":"transcript.text.delta","delta":"world."}\n\n'
        'data: {"type":"transcript.text.done","text":"Hello, world.","usage":{"type":"duration","seconds":1.4}}\n\n'
    ),
}
"""What all routes that write recordings down say of themselves."""


async def answer_transcription(request: Request[Any, Any, Any]) -> Response[Any]:
    """Read a form with a recording, and answer what is said in it. Raises `RequestError` for what cannot be honoured."""
    payload, files, headers = await _form.read(request)
    _refuse_what_nobody_can(payload)
    words = "word" in (payload.timestamp_granularities or ())
    if words and payload.response_format != "verbose_json":
        raise BadInputError("timestamps of words come with response_format verbose_json", param="timestamp_granularities")
    language = spoken(payload.language or (payload.languages[0] if payload.languages else None))
    transcribe = transcribe_request(payload, files, task="transcribe", language=language, words=words)
    return await answer_recording(request, payload, transcribe, headers, list(payload.timestamp_granularities or ()))


async def answer_recording(
    request: Request[Any, Any, Any],
    payload: RecordingFields,
    transcribe: TranscribeRequest,
    headers: dict[str, str],
    granularities: list[str],
) -> Response[Any]:
    """Answer what is said in a recording, in the format that is asked for, whole or as a stream."""
    form = payload.response_format
    if form == "diarized_json":
        raise UnsupportedError("no model here tells who speaks; use json or verbose_json", param="response_format")
    as_text = TEXT_FORMATS.get(form)
    if payload.stream and as_text and not as_text.streams:
        raise BadInputError(f"{form} comes whole; leave stream out, or use json", param="response_format")
    transcript = Transcript(transcribe.task, transcribe.language)
    call = start_call(request, "transcribe", payload.model, transcribe)
    if payload.stream:
        return await event_stream(request, transcript.stream(call, form, granularities), headers)
    async with reading(request, call) as events:
        await transcript.collect(events)
    if as_text:
        return Response(as_text.write(transcript).encode(), media_type=as_text.media_type, headers=headers)
    return JsonResponse(answer_of(transcript, form, granularities), headers=headers)


def transcribe_request(
    payload: RecordingFields,
    files: dict[str, list[Upload]],
    *,
    task: Literal["transcribe", "translate"],
    language: str | None,
    words: bool,
) -> TranscribeRequest:
    """Return what a backend is asked. Raises `BadInputError` unless there is one recording."""
    recording = one_file(files, "a recording", "file", "audio")
    keywords = payload.keywords if isinstance(payload, TranscriptionForm) else None
    return TranscribeRequest(
        audio=recording.audio,
        format=payload.format or recording.format,
        sample_rate=payload.sample_rate,
        task=task,
        language=language,
        prompt=payload.prompt,
        hotwords=(*(payload.hotwords or ()), *(keywords or ())),
        temperature=payload.temperature,
        word_timestamps=words,
        options=payload.options,
    )


def _refuse_what_nobody_can(payload: TranscriptionForm) -> None:
    if payload.known_speaker_names or payload.known_speaker_references:
        raise UnsupportedError("no model here tells who speaks; leave known_speaker_names out", param="known_speaker_names")
    if payload.include:
        raise UnsupportedError("include: no model here gives logprobs of a transcript; leave it out", param="include")
    if payload.languages and len(payload.languages) > 1:
        raise UnsupportedError("no model here is told several languages; give one as `language`", param="languages")
