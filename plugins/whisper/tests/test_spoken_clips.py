"""All speech is heard, quiet or after an early stop, in its own language; and what is no speech is no text."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from modelhost import Blob, Context, Detected, Partial, Segment, TranscribeRequest as Request
from modelhost.audio import SAMPLE_RATE, decode, speech_spans, to_pcm
from modelhost.contract.event_stream import EventStream
from modelhost_whisper.silero import SHORTEST, SileroDetector

PROMPTS = (None, "ZyntriQix, Digique Plus. Please subscribe.", "So then, let's go to the next meeting.")


@pytest.fixture(scope="module")
def clip():
    spec = importlib.util.find_spec("pytest_audioeval")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the clips in pytest-audioeval")
    folder = Path(spec.submodule_search_locations[0]) / "samples" / "audio"
    return lambda name: decode(Blob(path=folder / f"{name}.wav"))


@pytest.fixture(scope="module")
def many(load, base):
    return load(base, beam_size=1)


def pause(seconds):
    return np.zeros(int(seconds * SAMPLE_RATE), np.float32)


def softer(samples, decibels):
    """So much quieter, in the 16 bits of a file."""
    return (samples * 10 ** (-decibels / 20) * 32768).round().astype(np.float32) / 32768


def music():
    beat = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    notes = (261.6, 293.7, 329.6, 392.0, 440.0) * 4
    return np.concatenate(
        [0.2 * np.exp(-3 * beat) * sum(np.sin(6.283 * f * k * beat) / k for k in (1, 2, 3, 2.5)) for f in notes]
    )


def clicks():
    dice, sound = np.random.default_rng(1), np.zeros(10 * SAMPLE_RATE)
    for at in dice.integers(0, len(sound) - 1000, 60):
        sound[at : at + 200] += dice.normal(0, 0.3, 200) * np.exp(-np.arange(200) / 40)
    return sound


def hum():
    at = np.arange(10 * SAMPLE_RATE) / SAMPLE_RATE
    return 0.1 * np.sin(6.283 * 50 * at) + 0.05 * np.sin(6.283 * 150 * at)


def noise(decibels):
    return np.random.default_rng(2).normal(0, 10 ** (-decibels / 20), 10 * SAMPLE_RATE)


def cough():
    return np.random.default_rng(3).normal(0, 0.15, 6400) * np.exp(-np.linspace(0, 4, 6400))


def spoken(samples):
    return speech_spans(samples.astype(np.float32), padding=0, shortest=SHORTEST, detector=SileroDetector())


def live(listener, samples):
    box, data = EventStream(), to_pcm(samples)
    for at in range(0, len(data), 6400):
        box.put(data[at : at + 6400])
    box.finish()
    return list(listener.backend.transcribe(Request(), Context(input=box)))


def text(events):
    return "".join(event.text for event in events if isinstance(event, Segment)).lower()


def languages(events):
    return [event.language for event in events if isinstance(event, Detected)]


SOUNDS = {"clicks": clicks, "music": music, "hum": hum, "noise at -20": lambda: noise(20), "noise at -60": lambda: noise(60)}


@pytest.mark.parametrize("name", SOUNDS)
def test_what_is_no_speech_is_no_text_whatever_the_prompt(hasty, name):
    sound = SOUNDS[name]().astype(np.float32)
    for prompt in PROMPTS:
        assert hasty.text(sound, prompt=prompt) == ""
        assert hasty.text(softer(sound, 30), prompt=prompt, hotwords=("Please", "subscribe")) == ""
    assert not any(isinstance(event, Segment | Partial) for event in live(hasty, sound))


@pytest.mark.parametrize("decibels", [0, 30, 40, 50])
def test_speech_is_found_at_any_loudness(clip, decibels):
    (found, *rest) = spoken(softer(clip("en/quick_brown_fox"), decibels))
    assert found.start < 0.2
    assert (rest or [found])[-1].end > 2.4


def test_quiet_speech_is_found_beside_loud_speech(clip):
    fox, counting = clip("en/quick_brown_fox"), softer(clip("en/counting"), 40)
    for first, second in ((fox, counting), (counting, fox)):
        spans = spoken(np.concatenate([first, pause(1.5), second, pause(0.5)]))
        middle = len(first) / SAMPLE_RATE + 0.7
        assert sum(span.end - span.start for span in spans if span.end < middle) > 2
        assert sum(span.end - span.start for span in spans if span.start > middle) > 2


def test_the_detector_decides_the_same_however_the_sound_is_cut(clip):
    fox = clip("en/quick_brown_fox")
    whole, cut = SileroDetector(), SileroDetector()
    assert np.array_equal(np.concatenate([cut.feed(fox[at : at + 777]) for at in range(0, len(fox), 777)]), whole.feed(fox))


def test_speech_fifty_decibels_down_is_written_down_and_live_too(hasty, clip):
    quiet = softer(clip("en/quick_brown_fox"), 50)
    assert "quick brown fox jumps over the lazy dog" in hasty.text(quiet).lower()
    assert "lazy dog" in text(live(hasty, np.concatenate([quiet, pause(1)])))


def test_quiet_speech_after_loud_speech_is_written_down(hasty, clip):
    heard = hasty.text(np.concatenate([clip("en/quick_brown_fox"), pause(1.5), softer(clip("en/counting"), 40), pause(0.5)]))
    assert "lazy dog" in heard.lower()
    assert "nine" in heard.lower() or "9" in heard


class TestLanguages:
    def test_what_follows_after_the_model_stopped_is_heard(self, many, clip):
        count, pangram = clip("es/conteo"), clip("es/pangrama")
        events = many.events(np.concatenate([clip("en/hello_world"), pause(3), count, pause(1), pangram, pause(1), count]))
        assert "world" in text(events)
        assert "kiwi" in text(events)
        assert text(events).count("9") + text(events).count("nueve") == 2
        times = [time for event in events if isinstance(event, Segment) for time in (event.start, event.end)]
        assert times == sorted(times)
        assert all(time == round(time, 3) for time in times)

    def test_the_language_is_that_of_most_of_the_speech(self, many, clip):
        one_word = np.concatenate([clip("en/hello_world"), pause(7), clip("es/conteo"), pause(1)])
        assert languages(many.events(one_word)) == ["es"]

    @pytest.mark.parametrize("sound", [cough, music])
    def test_what_is_no_speech_has_no_say_in_the_language(self, many, clip, sound):
        events = many.events(np.concatenate([sound().astype(np.float32), pause(7), clip("es/conteo"), pause(1)]))
        assert languages(events) == ["es"]
        assert "9" in text(events) or "nueve" in text(events)

    def test_on_a_line_each_utterance_has_its_language(self, many, clip):
        music_first = [music().astype(np.float32), pause(1), clip("es/conteo"), pause(1), clip("en/quick_brown_fox"), pause(1)]
        events = live(many, np.concatenate(music_first))
        assert languages(events) == ["es", "en"]
        assert "quick brown fox" in text(events)
