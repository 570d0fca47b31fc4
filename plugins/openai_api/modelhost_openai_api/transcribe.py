"""Speech to text: a recording goes up, its transcript comes down whole."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import httpx
import msgspec
from modelhost import (
    BackendFailedError,
    Context,
    Detected,
    Done,
    Segment,
    TranscribeEvent,
    TranscribeRequest,
    UnsupportedError,
    Usage,
    Word,
)
from modelhost.authors.languages import code_of

from modelhost_openai_api.chunks import count
from modelhost_openai_api.recording import open_recording
from modelhost_openai_api.upstream import Upstream

Seconds = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]
"""Times, a little before the beginning too, as some servers have them; never infinite and no number."""

Token = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class TranscriptWord(msgspec.Struct):
    """A word with its times, in seconds."""

    word: str
    start: Seconds
    end: Seconds
    probability: float | None = None


class TranscriptSegment(msgspec.Struct):
    """A stretch of speech; times in seconds. Whisper's figures about itself may be missing."""

    start: Seconds
    end: Seconds
    text: str
    words: list[TranscriptWord] | None = None
    tokens: tuple[Token, ...] | None = None
    temperature: float | None = None
    avg_logprob: float | None = None
    compression_ratio: float | None = None
    no_speech_prob: float | None = None
    speaker: str | None = None


class Cost(msgspec.Struct):
    """Seconds, or tokens, by what the upstream bills."""

    seconds: Seconds | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class Transcript(msgspec.Struct):
    """An answer of `verbose_json`; `json` has only the text and maybe the cost."""

    text: str = ""
    language: str | None = None
    duration: Seconds | None = None
    segments: list[TranscriptSegment] | None = None
    words: list[TranscriptWord] | None = None
    usage: Cost | None = None


_decoder = msgspec.json.Decoder(Transcript, strict=False)  # a duration is a text to some servers


async def transcribe(upstream: Upstream, request: TranscribeRequest, context: Context) -> AsyncIterator[TranscribeEvent]:
    """Yield the upstream's segments. Raises `ModelhostError`."""
    translate = request.task == "translate"
    fields = _fields(upstream, request)
    recording = await asyncio.to_thread(open_recording, request)
    with recording.file:
        files = {"file": (recording.name, recording.file, recording.media_type)}
        endpoint = upstream.post("translations" if translate else "transcriptions", context, data=fields, files=files)
        async with endpoint as response:
            await response.aread()
            transcript = _transcript(response, fields["response_format"])
    cost = transcript.usage or Cost()
    seconds = max(0.0, transcript.duration or cost.seconds or recording.seconds or 0.0)
    if not translate and transcript.language and (code := code_of(transcript.language)):
        yield Detected(language=code)
    for segment in _segments(transcript, seconds):
        yield segment
    usage = Usage(audio_seconds=seconds, input_tokens=count(cost.input_tokens), output_tokens=count(cost.output_tokens))
    yield Done(usage=usage)


def _fields(upstream: Upstream, request: TranscribeRequest) -> dict[str, Any]:
    """Return the form's fields. Raises `UnsupportedError` for what OpenAI's translations have no word for."""
    if request.task == "translate":
        for param, value in (("language", request.language), ("timestamp_granularities", request.word_timestamps)):
            if value:
                raise UnsupportedError(f"the upstream's translations take no {param}; leave it out", param=param)
    fields = {
        "model": upstream.model,
        "response_format": upstream.options.response_format,
        "language": request.language,
        "prompt": ", ".join(part for part in (request.prompt, *request.hotwords) if part) or None,
        "temperature": None if request.temperature is None else str(request.temperature),
        "timestamp_granularities[]": ["word", "segment"] if request.word_timestamps else None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _transcript(response: httpx.Response, form: str) -> Transcript:
    if form == "text":
        return Transcript(text=response.text)
    try:
        return _decoder.decode(response.content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        hint = f"the upstream's transcript is no {form}; set response_format in the model's options to one it has"
        raise BackendFailedError(hint) from None


def _segments(transcript: Transcript, seconds: float) -> Iterator[Segment]:
    """Yield the segments in order of time; an answer without times is one, as long as the recording is known to be."""
    found = sorted(transcript.segments or (), key=lambda one: one.start)
    if not found and transcript.text.strip():
        end = seconds or max((word.end for word in transcript.words or ()), default=0.0)
        found = [TranscriptSegment(start=0.0, end=end, text=transcript.text.strip())]
    words = deque(transcript.words or ())
    for number, one in enumerate(found, 1):
        last, own = number == len(found), []
        while words and (last or words[0].start < one.end):
            own.append(words.popleft())
        yield _segment(one, one.words or own)


def _segment(one: TranscriptSegment, words: list[TranscriptWord]) -> Segment:
    return Segment(
        start=max(0.0, one.start),
        end=max(0.0, one.start, one.end),
        text=one.text,
        words=tuple(_word(word) for word in words),
        tokens=one.tokens or (),
        temperature=one.temperature,
        avg_logprob=one.avg_logprob,
        compression_ratio=one.compression_ratio,
        no_speech_prob=one.no_speech_prob,
        speaker=one.speaker,
    )


def _word(one: TranscriptWord) -> Word:
    start = max(0.0, one.start)
    return Word(text=one.word, start=start, end=max(start, one.end), probability=one.probability)
