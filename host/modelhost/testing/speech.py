"""What a backend must keep that hears or speaks."""

import asyncio
from typing import Any, ClassVar

import msgspec
import pytest

from modelhost.contract.errors import BadInputError
from modelhost.contract.types import (
    Ability,
    AudioChunk,
    Blob,
    Done,
    Partial,
    Segment,
    SynthesizeRequest,
    TranscribeRequest,
    Voices,
    VoiceSample,
    VoicesRequest,
)
from modelhost.testing.backends import BackendTests
from modelhost.testing.loaded import Loaded
from modelhost.testing.pcm import what_is_wrong
from modelhost.testing.requests import tone

SENTENCE = "Here is one more sentence that is to be said. "

VOICES_TRIED = 3
"""Of the voices on a card. Chosen, because each costs an answer."""


class TranscribesSpeech(BackendTests):
    """Tests of `transcribe`."""

    ability: ClassVar[Ability] = "transcribe"
    request: ClassVar[Any] = TranscribeRequest(audio=Blob(tone()), format="wav")
    odd: ClassVar[tuple[Any, ...]] = (
        TranscribeRequest(audio=Blob(b"")),
        TranscribeRequest(audio=Blob(b"this is no recording"), format="wav"),
        TranscribeRequest(audio=Blob(tone(seconds=0.0)), format="wav"),
        TranscribeRequest(audio=Blob(tone(seconds=0.01)), format="mp3"),
        TranscribeRequest(audio=Blob(tone()), format="wav", language="no-such-language"),
    )
    steady: ClassVar[bool] = True
    """Whether the same recording gives the same text; False for what computes elsewhere."""

    def test_segments_follow_each_other_in_time(self, answered: list[Any]) -> None:
        """Starts never go back, and no segment ends before it starts."""
        segments = [event for event in answered if isinstance(event, Segment)]
        starts = [segment.start for segment in segments]
        assert starts == sorted(starts), f"segments begin at {starts}; yield them in order of time"
        for segment in segments:
            assert 0 <= segment.start <= segment.end, f"a segment is from {segment.start} to {segment.end} s"

    def test_words_lie_within_their_segment(self, loaded: Loaded) -> None:
        """With `word_timestamps` in the features."""
        if "word_timestamps" not in loaded.card.features:
            pytest.skip("the card's features do not name word_timestamps")
        events = loaded.events("transcribe", msgspec.structs.replace(self.request, word_timestamps=True))
        for segment in events:
            if isinstance(segment, Segment) and segment.text.strip():
                assert segment.words, "word_timestamps=True gives no words; fill Segment.words, or leave it out of the features"
                times = [word.start for word in segment.words]
                assert times == sorted(times), f"words begin at {times}; give them in order of time"

    def test_recordings_at_once_do_not_mix(self, loaded: Loaded) -> None:
        """What is heard beside others is what is heard alone."""
        if loaded.card.concurrency == 1 or not self.steady:
            pytest.skip("there is one call at a time, or nothing to compare with")
        requests = [self.request, TranscribeRequest(audio=Blob(tone(seconds=3.0)), format="wav")] * 2
        alone = [heard(loaded.events("transcribe", one)) for one in requests[:2]] * 2

        async def all_at_once() -> list[list[Any]]:
            return await asyncio.gather(*(loaded.collect("transcribe", one) for one in requests))

        for before, events in zip(alone, loaded.run(all_at_once()), strict=True):
            beside = heard(events)
            assert beside == before, (
                f"beside others a recording is heard as {beside!r:.80}, alone as {before!r:.80}: keep what belongs to a call in "
                "local variables; say concurrency=1 if the runtime cannot; set `steady = False` if no answer is the same"
            )

    def test_a_recording_brings_no_partial_results(self, answered: list[Any]) -> None:
        """Those are for live audio."""
        assert not any(isinstance(event, Partial) for event in answered), "a recording gives a Partial; yield Segments alone"


def heard(events: list[Any]) -> list[tuple[float, float, str]]:
    """Return what was said, and when."""
    return [(event.start, event.end, event.text) for event in events if isinstance(event, Segment)]


class SynthesizesSpeech(BackendTests):
    """Tests of `synthesize`."""

    ability: ClassVar[Ability] = "synthesize"
    request: ClassVar[Any] = SynthesizeRequest(text="This is a test. It has two sentences.")
    long: ClassVar[Any] = SynthesizeRequest(text=SENTENCE * 8)
    odd: ClassVar[tuple[Any, ...]] = (
        SynthesizeRequest(text=""),
        SynthesizeRequest(text=" \n"),
        SynthesizeRequest(text="…?!"),
        SynthesizeRequest(text="🙂"),
        SynthesizeRequest(text="a\0b"),
    )

    def seconds(self, loaded: Loaded, text: str, **fields: Any) -> float:
        """Return how long a text is spoken."""
        return length(loaded.events("synthesize", SynthesizeRequest(text=text, **fields)))

    def test_the_sound_is_whole_samples_at_one_rate(self, loaded: Loaded, answered: list[Any]) -> None:
        """PCM of 16 bits: an odd byte would turn the rest into noise."""
        chunks = [event for event in answered if isinstance(event, AudioChunk)]
        assert chunks, "synthesize yields no AudioChunk"
        for chunk in chunks:
            assert chunk.data, "an AudioChunk is empty; leave it out"
            assert len(chunk.data) % 2 == 0, f"an AudioChunk has {len(chunk.data)} bytes; cut 16-bit samples where one ends"
        rates = {chunk.sample_rate for chunk in chunks}
        assert len(rates) == 1, f"the sound has the rates {sorted(rates)}; keep to one"
        claimed = loaded.card.sample_rate
        assert claimed in (None, *rates), f"the sound has {rates.pop()} Hz, the card says sample_rate={claimed}; say what comes"

    def test_the_sound_is_16_bit_pcm(self, answered: list[Any]) -> None:
        """Little-endian, mono, and without a file's header."""
        wrong = what_is_wrong(b"".join(event.data for event in answered if isinstance(event, AudioChunk)))
        assert wrong is None, f"the sound should be 16-bit little-endian mono PCM, but {wrong}"

    def test_the_length_is_told(self, answered: list[Any]) -> None:
        """`Done.usage.audio_seconds` is that of the sound."""
        claimed, actual = answered[-1].usage.audio_seconds, length(answered)
        assert abs(claimed - actual) <= 0.05 + 0.02 * actual, (
            f"Done.usage.audio_seconds is {claimed:.2f}, the sound lasts {actual:.2f} s as 16-bit samples; "
            "count what is yielded: samples / sample_rate"
        )

    def test_the_sound_comes_in_pieces(self, loaded: Loaded) -> None:
        """A model that streams gives the first sentence before the last is made."""
        chunks = [event for event in loaded.events("synthesize", self.long) if isinstance(event, AudioChunk)]
        assert len(chunks) > 1 or "streaming" not in loaded.card.features, (
            "eight sentences are one AudioChunk although the card's features say streaming; yield what is there, sentence by "
            "sentence (modelhost.Sentences), or leave streaming out of the features"
        )

    def test_a_longer_text_takes_longer(self, loaded: Loaded) -> None:
        """All of the text is spoken."""
        one, eight = (self.seconds(loaded, SENTENCE * times) for times in (1, 8))
        assert eight > 3 * one, f"a sentence lasts {one:.1f} s, said eight times {eight:.1f} s; speak all of the text"

    def test_speed_is_honoured(self, loaded: Loaded) -> None:
        """With `speed` in the features, twice as fast is shorter."""
        if "speed" not in loaded.card.features:
            pytest.skip("the card's features do not name speed")
        text = self.request.text
        normal, fast = self.seconds(loaded, text), self.seconds(loaded, text, speed=2.0)
        assert fast < 0.8 * normal, (
            f"speed=2 lasts {fast:.2f} s, speed=1 {normal:.2f} s; honour request.speed, or leave speed out of the features"
        )

    def test_every_voice_on_the_card_speaks(self, loaded: Loaded) -> None:
        """What is listed can be asked for."""
        for voice in loaded.card.voices[:VOICES_TRIED]:
            try:
                actual = self.seconds(loaded, "Hello.", voice=voice)
            except BadInputError as error:
                raise AssertionError(f"the card lists the voice {voice!r}, and it is refused: {error.message}") from error
            assert actual > 0, f"the voice {voice!r} says nothing"

    def test_a_voice_nobody_has_is_refused(self, loaded: Loaded) -> None:
        """Nobody is answered in another voice than the one asked for. The host refuses it from the card; a card may be old."""
        if not loaded.card.voices:
            pytest.skip("the card lists no voices")
        try:
            loaded.events("synthesize", SynthesizeRequest(text="Hello.", voice="no-such-voice"))
        except BadInputError:
            return
        pytest.fail("voice='no-such-voice' is spoken; raise BadInputError(…, param='voice', code='unknown_voice')")

    def test_speech_at_once_does_not_mix(self, loaded: Loaded) -> None:
        """A short text stays short beside long ones."""
        if loaded.card.concurrency == 1:
            pytest.skip("there is one call at a time")
        short = SynthesizeRequest(text="Hello there.")
        alone = length(loaded.events("synthesize", short))

        async def both() -> list[list[Any]]:
            return await asyncio.gather(*(loaded.collect("synthesize", one) for one in (self.long, short)))

        beside = length(loaded.run(both())[1])
        assert 0.4 * alone < beside < 2.5 * alone, (
            f"beside a long text a short one lasts {beside:.2f} s, alone {alone:.2f} s: "
            "keep what belongs to a call in local variables"
        )


def length(events: list[Any]) -> float:
    """Return how long sound lasts, in seconds."""
    chunks = [event for event in events if isinstance(event, AudioChunk)]
    return sum(len(chunk.data) / 2 / chunk.sample_rate for chunk in chunks)


class AddsVoices(BackendTests):
    """Tests of `voices`, with a voice made of `sample`."""

    ability: ClassVar[Ability] = "voices"
    request: ClassVar[Any] = VoicesRequest()
    sample: ClassVar[VoiceSample] = VoiceSample(audio=Blob(tone()), text="This is a test.")

    def names(self, loaded: Loaded, **fields: Any) -> tuple[str, ...]:
        """Ask, and return the names in the one event before `Done`."""
        voices, done = loaded.events("voices", VoicesRequest(**fields))
        assert isinstance(voices, Voices), "voices yields one Voices, then Done"
        assert isinstance(done, Done), "voices yields one Voices, then Done"
        return voices.names

    def test_a_voice_is_added_listed_and_deleted(self, loaded: Loaded) -> None:
        """Each answer has all the names there are by then."""
        before = self.names(loaded)
        added = self.names(loaded, add="kit-voice", samples=(self.sample,))
        assert set(added) == {*before, "kit-voice"}, (
            f"adding kit-voice to {before} answers {added}; answer all names there are now"
        )
        assert "kit-voice" in self.names(loaded), "a voice that was added is not listed"
        left = self.names(loaded, delete="kit-voice")
        assert set(left) == set(before), f"deleting kit-voice answers {left}; answer all names there are now"

    def test_a_voice_that_is_not_there_cannot_be_deleted(self, loaded: Loaded) -> None:
        """The caller named it, so it is the caller's error, and every model has one code for it."""
        code = None
        try:
            self.names(loaded, delete="no-such-voice")
        except BadInputError as error:
            code = error.code
        assert code == "unknown_voice", (
            f"deleting a voice that is not there gives {code or 'no error'}; raise BadInputError(…, code='unknown_voice')"
        )
