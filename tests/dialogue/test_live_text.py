"""What goes from one stage of a dialogue to the next: text that is still being written, and how sure one is of what was heard."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, strategies as st
from modelhost import Detected, Done, Segment, TranscribeEvent
from modelhost.dialogue.live_text import LiveText
from modelhost.dialogue.transcription import collect_transcript


@given(pieces=st.lists(st.binary(min_size=1)), readers=st.lists(st.integers(0, 20), min_size=1))
def test_each_reader_of_live_text_gets_all_of_it(pieces: list[bytes], readers: list[int]) -> None:
    """However late it begins; of those before it nothing more is asked."""

    async def read() -> None:
        live = LiveText()
        for number, piece in enumerate(pieces):
            if number in readers:
                aiter(live)
            live.put(piece)
        begun = aiter(live)
        live.finish()
        assert [piece async for piece in begun] == pieces
        assert [piece async for piece in live] == pieces

    asyncio.run(read())


def test_confidence_is_the_mean_probability_by_length_and_none_where_none_is_told() -> None:
    async def events(*logprobs: float | None) -> AsyncIterator[TranscribeEvent]:
        yield Detected(language="it", probability=0.75)
        for number, logprob in enumerate(logprobs):
            yield Segment(start=number, end=number + 1 + number, text=f" {number}", avg_logprob=logprob)
        yield Done()

    sure = asyncio.run(collect_transcript(events(0.0, -0.6931471805599453, None), "en"))
    assert (sure.text, sure.language, sure.language_probability) == ("0 1 2", "it", 0.75)
    assert sure.confidence == pytest.approx((1.0 + 2 * 0.5) / 3, abs=1e-4)
    assert [segment.confidence for segment in sure.segments] == [1.0, 0.5, None]
    assert asyncio.run(collect_transcript(events(None), None)).confidence is None
