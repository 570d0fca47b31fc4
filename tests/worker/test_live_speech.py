"""A backend speaks PCM; what leaves its worker is what the caller asked for, whole or live."""

from collections.abc import Iterator
from typing import Any

import pytest
from modelhost import (
    AudioChunk,
    Backend,
    BadInputError,
    Blob,
    Context,
    Done,
    ModelCard,
    Options,
    SynthesizeEvent,
    SynthesizeRequest,
    Usage,
    Word,
    hookimpl,
)
from modelhost.audio import SAMPLE_RATE, decode
from modelhost.contract.event_stream import EventStream
from modelhost.testing import Loaded
from modelhost_echo import EchoBackend


@pytest.fixture(scope="module")
def echo() -> Any:
    loaded = Loaded(EchoBackend, {})
    yield loaded
    loaded.close()


def sound(events: list[Any]) -> bytes:
    assert isinstance(events[-1], Done)
    return b"".join(event.data for event in events if isinstance(event, AudioChunk))


@pytest.mark.parametrize("format_", ["wav", "mp3", "opus", "aac", "flac"])
def test_every_format_is_made_of_a_backends_pcm(echo: Loaded, format_: Any) -> None:
    events = echo.events("synthesize", SynthesizeRequest(text="a b c d e f g h i j", format=format_))
    assert len(decode(Blob(sound(events)))) / SAMPLE_RATE == pytest.approx(1.0, abs=0.15)
    assert events[-1].usage.audio_seconds == pytest.approx(1.0)


@pytest.mark.parametrize("rate", [8000, 24_000, 44_100])
def test_the_rate_is_the_one_asked_for(echo: Loaded, rate: int) -> None:
    events = echo.events("synthesize", SynthesizeRequest(text="a b c d", sample_rate=rate))
    assert {event.sample_rate for event in events if isinstance(event, AudioChunk)} == {rate}
    assert len(sound(events)) / 2 / rate == pytest.approx(0.4, abs=0.01)


def test_the_first_bytes_leave_before_the_backend_is_done(echo: Loaded) -> None:
    events = echo.events("synthesize", SynthesizeRequest(text="word " * 30, format="mp3"))
    assert len([event for event in events if isinstance(event, AudioChunk)]) > 10


def live(echo: Loaded, pieces: list[bytes], **fields: Any) -> list[Any]:
    box: EventStream[bytes] = EventStream()
    for piece in pieces:
        box.put(piece)
    box.finish()
    return echo.events("synthesize", SynthesizeRequest(text="", **fields), Context(input=box))


def test_live_text_is_spoken_sentence_by_sentence_as_one_stream(echo: Loaded) -> None:
    pieces = ["This is one. And th", "is is tw", "o! Thr€€ ".encode()[:-4], "Thr€€ ".encode()[-4:], b" four."]
    whole = [piece.encode() if isinstance(piece, str) else piece for piece in pieces]
    events = live(echo, whole, format="wav")
    assert sound(events).count(b"RIFF") == 1
    words = len(b"".join(whole).decode().split())
    assert events[-1].usage.audio_seconds == pytest.approx(words / 10)


def test_live_text_without_a_word_is_silence_not_an_error(echo: Loaded) -> None:
    assert [type(event) for event in live(echo, [b"... ", b"!\n", b" - "], format="mp3")] == [Done]


def test_what_a_backend_refuses_is_refused_in_the_middle_of_live_text_too(echo: Loaded) -> None:
    with pytest.raises(BadInputError, match="voices"):
        live(echo, [b"One. Two. Three."], voice="nobody", format="mp3")


class Timed(Backend[Options]):
    """Says when each word is said, a tenth of a second each, all in one piece."""

    def load(self) -> ModelCard:
        return ModelCard()

    @hookimpl
    def synthesize(self, request: SynthesizeRequest, context: Context) -> Iterator[SynthesizeEvent]:
        words = request.text.split()
        times = tuple(Word(text=word, start=at / 10, end=(at + 1) / 10) for at, word in enumerate(words))
        yield AudioChunk(data=bytes(3200 * len(words)), sample_rate=16_000, words=times)
        yield Done(usage=Usage(audio_seconds=len(words) / 10))


@pytest.mark.parametrize("format_", ["pcm", "wav", "mp3"])
def test_times_of_words_count_from_the_start_of_the_whole_sound(format_: Any) -> None:
    timed = Loaded(Timed, {})
    try:
        events = live(timed, [b"This is one. And this ", b"is two."], format=format_)
    finally:
        timed.close()
    words = [word for event in events if isinstance(event, AudioChunk) for word in event.words]
    assert [word.text for word in words] == ["This", "is", "one.", "And", "this", "is", "two."]
    assert [word.start for word in words] == pytest.approx([at / 10 for at in range(7)])
