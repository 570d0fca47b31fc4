"""A transcript has what was said, in every format, and no loop of the model's."""

import asyncio
from collections.abc import AsyncIterator
from typing import get_args

import pytest
from modelhost import Done, Segment, Usage
from modelhost.cli.transcripts import SUFFIXES
from modelhost.contract.types import TranscribeEvent
from modelhost.dialogue.transcription import collect_transcript
from modelhost.http.routing.audio.transcript import TEXT_FORMATS, Format, Transcript

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
    if as_text := TEXT_FORMATS.get(form):
        return as_text.write(transcript)
    return repr(transcript.plain() if form == "json" else transcript.verbose(("segment",)))


@pytest.mark.parametrize("form", ["json", "text", "srt", "vtt", "verbose_json", "stream"])
def test_a_loop_is_left_out_of_every_format(form: str) -> None:
    transcript = Transcript("transcribe", "en")
    told = asyncio.run(written(transcript, form))
    assert "Good morning." in told
    assert "Good night." in told
    assert "la la" not in told


def test_the_command_line_can_name_a_file_of_every_format_that_a_model_here_has() -> None:
    assert set(SUFFIXES) == set(get_args(Format)) - {"diarized_json"}


def test_a_loop_is_no_part_of_a_conversation() -> None:
    transcript = asyncio.run(collect_transcript(events(), "en"))
    assert transcript.text == "Good morning. Good night."
    assert len(transcript.segments) == 2
