"""What was heard, put together of a transcription's events."""

import math
from collections.abc import AsyncIterator

from modelhost.contract.types import Detected, Segment, TranscribeEvent
from modelhost.dialogue.events import Transcript, TranscriptSegment


async def collect_transcript(events: AsyncIterator[TranscribeEvent], language: str | None) -> Transcript:
    """Read all of the events; `language` is what the caller says it is, where the model does not find it out."""
    probability: float | None = None
    segments: list[Segment] = []
    async for event in events:
        match event:
            case Segment() if not event.degenerate:
                segments.append(event)
            case Detected():
                language, probability = event.language, event.probability
    return Transcript(
        text="".join(segment.text for segment in segments).strip(),
        language=language,
        language_probability=probability,
        confidence=_confidence(*segments),
        segments=tuple(
            TranscriptSegment(start=one.start, end=one.end, text=one.text, confidence=_confidence(one)) for one in segments
        ),
    )


def _confidence(*segments: Segment) -> float | None:
    """Return the mean probability of a token (e to the mean of their logarithms), each segment counted by its length."""
    known = [(one.avg_logprob, max(0.01, one.end - one.start)) for one in segments if one.avg_logprob is not None]
    if not known:
        return None
    mean = sum(math.exp(min(0.0, logprob)) * length for logprob, length in known) / sum(length for _, length in known)
    return round(mean, 4)
