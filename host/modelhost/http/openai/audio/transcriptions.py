"""`/v1/audio/transcriptions`, `/v1/audio/translations` and `/v1/speech-to-text`: a recording in, its words out."""

from contextlib import aclosing
from typing import Annotated, Any, Literal, cast

from litestar import Request, Response, post
from msgspec import Meta

from modelhost.authors.languages import spoken
from modelhost.contract.errors import BadInputError, UnsupportedError
from modelhost.contract.structs import Struct
from modelhost.contract.types import TranscribeRequest
from modelhost.http.openai.audio.transcript import MEDIA_TYPES, Format, Transcript, answer_of
from modelhost.http.openai.audio.transcript_shapes import (
    TranscriptDelta,
    TranscriptDone,
    Transcription,
    VerboseTranscriptDone,
    VerboseTranscription,
)
from modelhost.http.routing.bodies.form import Upload
from modelhost.http.routing.disconnect import CancelOnDisconnect
from modelhost.http.routing.forms import FormReader, one_file
from modelhost.http.routing.in_flight import in_flight_of
from modelhost.http.routing.json_body import context_of, host_of
from modelhost.http.routing.json_response import JsonResponse
from modelhost.http.routing.spec import Example, route_spec
from modelhost.http.routing.streaming import event_stream


class TranslationForm(Struct):
    """`POST /v1/audio/translations`. The recording is the file `file`, or base64 in `audio`."""

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


class TranscriptionForm(TranslationForm):
    """`POST /v1/audio/transcriptions`. The recording is the file `file`, or base64 in `audio`."""

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


_transcription = FormReader(TranscriptionForm, files=("file", "audio"), base64_as="audio")
_translation = FormReader(TranslationForm, files=("file", "audio"), base64_as="audio")

_ANSWERS = {
    "text": Example(value={"text": "Hello, world.", "usage": {"type": "duration", "seconds": 1.4}}),
}
_EVENTS = (
    'data: {"type":"transcript.text.delta","delta":"Hello, "}\n\n'
    'data: {"type":"transcript.text.delta","delta":"world."}\n\n'
    'data: {"type":"transcript.text.done","text":"Hello, world.","usage":{"type":"duration","seconds":1.4}}\n\n'
)

_SPEC: dict[str, Any] = {
    "tag": "Audio",
    "files": ("file",),
    "answer": (Transcription, VerboseTranscription),
    "media": tuple(MEDIA_TYPES.values()),
    "event": (TranscriptDelta, TranscriptDone, VerboseTranscriptDone),
    "response_examples": _ANSWERS,
    "events": _EVENTS,
}
"""What both routes say of themselves."""


@post(
    ["/v1/audio/transcriptions", "/v1/speech-to-text"],
    status_code=200,
    summary="Write down a recording",
    opt=route_spec("inference", form=TranscriptionForm, **_SPEC),
)
async def transcriptions(request: Request[Any, Any, Any]) -> Response[Any]:
    """OpenAI's transcription: as text, JSON, subtitles, with times of segments and words, whole or as a stream."""
    asked, files, headers = await _transcription.read(request)
    _refuse_what_nobody_can(asked)
    words = "word" in (asked.timestamp_granularities or ())
    if words and asked.response_format != "verbose_json":
        raise BadInputError("timestamps of words come with response_format verbose_json", param="timestamp_granularities")
    language = spoken(asked.language or (asked.languages[0] if asked.languages else None))
    wanted = _request_of(request, asked, files, task="transcribe", language=language, words=words)
    return await _answer(request, asked, wanted, headers, list(asked.timestamp_granularities or ()))


@post(
    "/v1/audio/translations",
    status_code=200,
    summary="Write down a recording in English",
    opt=route_spec("inference", form=TranslationForm, **_SPEC),
)
async def translations(request: Request[Any, Any, Any]) -> Response[Any]:
    """OpenAI's translation: English, whatever was spoken; takes a model that has `translate` among its features."""
    asked, files, headers = await _translation.read(request)
    wanted = _request_of(request, asked, files, task="translate", language=None, words=False)
    return await _answer(request, asked, wanted, headers, [])


async def _answer(
    request: Request[Any, Any, Any],
    asked: TranslationForm,
    wanted: TranscribeRequest,
    headers: dict[str, str],
    granularities: list[str],
) -> Response[Any]:
    form = asked.response_format
    if form == "diarized_json":
        raise UnsupportedError("no model here tells who speaks; use json or verbose_json", param="response_format")
    if asked.stream and form in ("srt", "vtt"):
        raise BadInputError(f"{form} comes whole; leave stream out, or use json", param="response_format")
    transcript = Transcript(wanted.task, wanted.language)
    events = host_of(request).router.call("transcribe", asked.model, wanted, context_of(request))
    if asked.stream:
        return await event_stream(request, transcript.stream(events, form, granularities), headers)
    with CancelOnDisconnect(request):
        async with aclosing(cast(Any, events)):
            await transcript.collect(events)
    if form in MEDIA_TYPES:
        return Response(transcript.written(form).encode(), media_type=MEDIA_TYPES[form], headers=headers)
    return JsonResponse(answer_of(transcript, form, granularities), headers=headers)


def _request_of(
    request: Request[Any, Any, Any],
    asked: TranslationForm,
    files: dict[str, list[Upload]],
    *,
    task: Literal["transcribe", "translate"],
    language: str | None,
    words: bool,
) -> TranscribeRequest:
    recording = one_file(files, "a recording", "file", "audio")
    keywords = None
    # The path says what to do, and another model may be able to.
    spelt = in_flight_of(request.scope).spelt = {"task": "model", "audio": "file" if files.get("file") else "audio"}
    if isinstance(asked, TranscriptionForm):
        keywords = asked.keywords
        if asked.languages and asked.language is None:
            spelt["language"] = "languages"
        if keywords and not asked.hotwords:
            spelt["hotwords"] = "keywords"
    return TranscribeRequest(
        audio=recording.audio,
        format=asked.format or recording.format,
        sample_rate=asked.sample_rate,
        task=task,
        language=language,
        prompt=asked.prompt,
        hotwords=(*(asked.hotwords or ()), *(keywords or ())),
        temperature=asked.temperature,
        word_timestamps=words,
    )


def _refuse_what_nobody_can(asked: TranscriptionForm) -> None:
    if asked.known_speaker_names or asked.known_speaker_references:
        raise UnsupportedError("no model here tells who speaks; leave known_speaker_names out", param="known_speaker_names")
    if asked.include:
        raise UnsupportedError("include: no model here gives logprobs of a transcript; leave it out", param="include")
    if asked.languages and len(asked.languages) > 1:
        raise UnsupportedError("no model here is told several languages; give one as `language`", param="languages")
