"""A transcript has what was said, in every format, and no loop of the model's."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from modelhost import Done, Segment, Usage
from modelhost.contract.types import TranscribeEvent
from modelhost.dialogue.transcription import collect_transcript
from modelhost.http.routing.audio.transcript import Transcript

SAID = (
    Segment(start=0, end=1, text=" Good morning."),
    Segment(start=1, end=9, text=" la la la la la la", degenerate=True),
    Segment(start=9, end=10, text=" Good night."),
    Done(usage=Usage(audio_seconds=10)),
)


async def events() -> AsyncIterator[TranscribeEvent]:
    for one in SAID:
        yield one


async def written(transcript: Transcript, form: str) -> str:
    if form == "stream":
        return b"".join([piece async for piece in transcript.stream(events(), "verbose_json", ["segment"])]).decode()
    await transcript.collect(events())
    if form in ("text", "srt", "vtt"):
        return transcript.written(form)
    return repr(transcript.plain() if form == "json" else transcript.verbose(("segment",)))


@pytest.mark.parametrize("form", ["json", "text", "srt", "vtt", "verbose_json", "stream"])
def test_a_loop_is_left_out_of_every_format(form: str) -> None:
    transcript = Transcript("transcribe", "en")
    told = asyncio.run(written(transcript, form))
    assert "Good morning." in told
    assert "Good night." in told
    assert "la la" not in told


def test_a_loop_is_no_part_of_a_conversation() -> None:
    transcript = asyncio.run(collect_transcript(events(), "en"))
    assert transcript.text == "Good morning. Good night."
    assert len(transcript.segments) == 2
