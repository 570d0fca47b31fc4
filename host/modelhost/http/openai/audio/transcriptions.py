"""`/v1/audio/transcriptions` and `/v1/audio/translations`: a recording in, its words out."""

from typing import Any

from litestar import Request, Response, post

from modelhost.http.openai.dialect import route_spec
from modelhost.http.routing.audio.transcription import (
    SPEC,
    RecordingFields,
    TranscriptionForm,
    answer_recording,
    answer_transcription,
    transcribe_request,
)
from modelhost.http.routing.forms import FormReader
from modelhost.http.routing.statuses import OK


class TranslationForm(RecordingFields):
    """`POST /v1/audio/translations`. The recording is the file `file`, or base64 in `audio`."""


_translation = FormReader(TranslationForm, files=("file", "audio"), base64_as="audio")


@post(
    "/v1/audio/transcriptions",
    status_code=OK,
    summary="Write down a recording",
    opt=route_spec("inference", form=TranscriptionForm, **SPEC),
)
async def transcriptions(request: Request[Any, Any, Any]) -> Response[Any]:
    """OpenAI's transcription: as text, JSON, subtitles, with times of segments and words, whole or as a stream."""
    return await answer_transcription(request)


@post(
    "/v1/audio/translations",
    status_code=OK,
    summary="Write down a recording in English",
    opt=route_spec("inference", form=TranslationForm, **SPEC),
)
async def translations(request: Request[Any, Any, Any]) -> Response[Any]:
    """OpenAI's translation: English, whatever was spoken; takes a model that has `translate` among its features."""
    payload, files, headers = await _translation.read(request)
    translate = transcribe_request(payload, files, task="translate", language=None, words=False)
    return await answer_recording(request, payload, translate, headers, [])
