"""`POST /v1/speech-to-text`: a recording in, its words out, under the path of older clients."""

from typing import Any

from litestar import Request, Response, post

from modelhost.http.native.dialect import route_spec
from modelhost.http.routing.audio.transcription import SPEC, TranscriptionForm, answer_transcription
from modelhost.http.routing.statuses import OK


@post(
    "/v1/speech-to-text",
    status_code=OK,
    summary="Write down a recording",
    opt=route_spec("inference", form=TranscriptionForm, **SPEC),
)
async def speech_to_text(request: Request[Any, Any, Any]) -> Response[Any]:
    """The same as `/v1/audio/transcriptions`: as text, JSON, subtitles, with times, whole or as a stream."""
    return await answer_transcription(request)
