"""What was heard, in every form it is asked for."""

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator
from contextlib import aclosing
from typing import Any, Literal, NamedTuple

from msgspec import structs

from modelhost.authors.languages import name_of
from modelhost.contract.event_stream import ClosableEvents
from modelhost.contract.types import Detected, Done, Segment, TranscribeEvent
from modelhost.http.routing.audio.transcript_shapes import (
    DurationUsage,
    TranscriptDelta,
    TranscriptDone,
    Transcription,
    TranscriptWord,
    VerboseSegment,
    VerboseTranscriptDone,
    VerboseTranscription,
)
from modelhost.http.routing.dialect import server_sent_event

Format = Literal["json", "text", "srt", "vtt", "verbose_json", "diarized_json"]


class Transcript:
    """Collects the events of a transcription."""

    def __init__(self, task: str, language: str | None) -> None:
        self._task = task
        self.language = language
        self.probability: float | None = None
        self.segments: list[Segment] = []
        self.seconds = 0.0

    async def collect(self, events: AsyncIterable[TranscribeEvent]) -> None:
        """Read all of them."""
        async for one in events:
            self.take(one)

    def take(self, one: TranscribeEvent) -> None:
        """Take one."""
        match one:
            case Segment() if not one.degenerate:
                self.segments.append(one)
            case Detected():
                self.language, self.probability = one.language, one.probability
            case Done():
                self.seconds = one.usage.audio_seconds or max((segment.end for segment in self.segments), default=0.0)

    @property
    def text(self) -> str:
        """All that was said."""
        return "".join(segment.text for segment in self.segments).strip()

    @property
    def usage(self) -> DurationUsage:
        """What it cost, as OpenAI counts it."""
        return DurationUsage(seconds=round(self.seconds, 2))

    def plain(self) -> Transcription:
        """Return the text alone."""
        return Transcription(text=self.text, usage=self.usage)

    def verbose(self, granularities: tuple[str, ...]) -> VerboseTranscription:
        """Return everything that is known; of words and segments those asked for."""
        words = [word for segment in self.segments for word in segment.words]
        return VerboseTranscription(
            task=self._task,
            language=name_of("en" if self._task == "translate" else self.language or ""),
            language_probability=self.probability,
            duration=round(self.seconds, 3),
            text=self.text,
            segments=[_segment(number, one) for number, one in enumerate(self.segments)] if "segment" in granularities else None,
            words=[TranscriptWord(word=word.text.strip(), start=word.start, end=word.end) for word in words]
            if "word" in granularities
            else None,
            usage=self.usage,
        )

    async def stream(
        self, call: ClosableEvents[TranscribeEvent], form: Format, chosen: list[str] | None
    ) -> AsyncGenerator[bytes, None]:
        """Return server-sent events as OpenAI names them: the text as it is heard, then all of it, in the format asked for."""
        begun = False
        async with aclosing(call) as events:
            async for one in events:
                self.take(one)
                if isinstance(one, Segment) and one.text and not one.degenerate:
                    yield server_sent_event(TranscriptDelta(delta=one.text if begun else one.text.lstrip()))
                    begun = True
        if form == "verbose_json":
            yield server_sent_event(VerboseTranscriptDone(**structs.asdict(self.verbose(granularities(chosen)))))
        else:
            yield server_sent_event(TranscriptDone(text=self.text, usage=self.usage))


def _segment(number: int, one: Segment) -> VerboseSegment:
    return VerboseSegment(
        id=number,
        seek=int(one.start * 100),
        start=one.start,
        end=one.end,
        text=one.text,
        tokens=one.tokens,
        temperature=one.temperature or 0.0,
        avg_logprob=one.avg_logprob or 0.0,
        compression_ratio=one.compression_ratio or 0.0,
        no_speech_prob=one.no_speech_prob or 0.0,
    )


def _subtitles(transcript: Transcript, mark: str) -> Iterator[str]:
    for number, segment in enumerate(transcript.segments, 1):
        # A blank line would end the subtitle, and an arrow in the text would look like a time.
        text = " ".join(segment.text.split()).replace("-->", "->")
        yield f"{number}\n{_time(segment.start, mark)} --> {_time(segment.end, mark)}\n{text}\n"


def _time(seconds: float, mark: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{mark}{rest % 1000:03}"


def _text(transcript: Transcript) -> str:
    return f"{transcript.text}\n"


def _srt(transcript: Transcript) -> str:
    return "\n".join(_subtitles(transcript, ","))


def _vtt(transcript: Transcript) -> str:
    return "\n".join(["WEBVTT\n", *(cue.partition("\n")[2] for cue in _subtitles(transcript, "."))])


class TextFormat(NamedTuple):
    """A format that is not JSON."""

    media_type: str
    write: Callable[[Transcript], str]
    streams: bool = False
    """Whether it can be written before the end is known."""


TEXT_FORMATS = {
    "text": TextFormat("text/plain; charset=utf-8", _text, streams=True),
    "srt": TextFormat("application/x-subrip; charset=utf-8", _srt),
    "vtt": TextFormat("text/vtt; charset=utf-8", _vtt),
}


def granularities(chosen: list[str] | None) -> tuple[str, ...]:
    """Return what a verbose transcript has: segments, unless words alone are asked for."""
    return tuple(chosen) if chosen else ("segment",)


def answer_of(transcript: Transcript, form: Format, chosen: list[str] | None) -> Any:
    """Return the JSON answer of a format."""
    return transcript.verbose(granularities(chosen)) if form == "verbose_json" else transcript.plain()
