"""What is heard in real speech, by real models."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from modelhost import (
    BadInputError,
    Context,
    Detected,
    Done,
    NotReadyError,
    Partial,
    Progress,
    Segment,
    Source,
    TranscribeRequest as Request,
)
from modelhost.audio import SAMPLE_RATE, to_pcm
from modelhost.contract.event_stream import EventStream
from modelhost_whisper import WhisperBackend, WhisperOptions

FOX = "The quick brown fox jumps over the lazy dog."
SEA = "In the morning they went down to the sea, and the water was still cold."


def pause(seconds):
    return np.zeros(int(seconds * SAMPLE_RATE), np.float32)


def plain(text):
    return "".join(letter for letter in text.lower() if letter.isalnum() or letter == " ").strip()


def test_speech_becomes_text_with_times_and_probabilities(english, say):
    (segment,) = english.segments(say(FOX))
    assert plain(segment.text) == plain(FOX)
    assert 0 <= segment.start < segment.end <= len(say(FOX)) / SAMPLE_RATE + 0.1
    assert segment.temperature == 0
    assert -1 < segment.avg_logprob < 0
    assert segment.no_speech_prob < 0.5


def test_words_have_times_in_order_and_numbers_that_can_be_sent(english, say):
    (segment,) = english.segments(say(FOX), word_timestamps=True)
    assert plain("".join(word.text for word in segment.words)) == plain(FOX)
    times = [time for word in segment.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert all(type(word.probability) is float and 0 <= word.probability <= 1 for word in segment.words)


def test_silence_is_no_speech(english):
    assert [type(event) for event in english.events(pause(4))] == [Done]


def test_pauses_do_not_shift_what_follows(hasty, say):
    samples = np.concatenate([pause(8), say(FOX), pause(9), say(SEA)])
    first, *_, last = hasty.segments(samples)
    assert first.start == pytest.approx(8, abs=0.5)
    assert last.end == pytest.approx(len(samples) / SAMPLE_RATE, abs=0.7)


def test_a_recording_longer_than_the_models_window_is_heard_to_its_end(hasty, say):
    spoken = [say(f"This is sentence number {number}, and it has a few more words.") for number in range(1, 10)]
    samples = np.concatenate([piece for one in spoken for piece in (one, pause(0.5))])
    assert len(samples) > 31 * SAMPLE_RATE
    *events, done = hasty.events(samples)
    heard = plain("".join(event.text for event in events if isinstance(event, Segment)))
    assert heard.count("sentence number") == 9
    fractions = [event.fraction for event in events if isinstance(event, Progress)]
    assert fractions == sorted(fractions)
    assert done.usage.audio_seconds == pytest.approx(len(samples) / SAMPLE_RATE, abs=0.01)


def test_without_vad_everything_is_looked_at(load, tiny, say):
    listener = load(tiny, vad=False, beam_size=1)
    samples = np.concatenate([say(FOX), pause(2), say(SEA)])
    heard = plain(listener.text(samples))
    assert "lazy dog" in heard
    assert "down to the sea" in heard


def test_a_request_may_choose_its_beams_and_others_are_not_computed_with_it(hasty, say, monkeypatch):
    computed = []
    step = hasty.model._engine._step
    monkeypatch.setattr(hasty.model._engine, "_step", lambda pieces: computed.append(pieces) or step(pieces))
    with ThreadPoolExecutor() as threads:
        asked = [{}, {"whisper": {"beam_size": 3}}]
        texts = [*threads.map(lambda options: hasty.text(say(FOX), options=options), asked)]
    assert all("fox" in text.lower() for text in texts)
    assert {frozenset(piece.settings.beam_size for piece in pieces) for pieces in computed} == {frozenset({1}), frozenset({3})}


def test_speech_that_repeats_itself_is_not_taken_for_a_loop(english, say):
    (segment, *_) = segments = english.segments(say(" ".join(["Hello world."] * 12)))
    assert plain("".join(one.text for one in segments)).count("hello world") >= 10
    assert not segment.degenerate


def test_the_prompt_says_how_words_are_spelt(english, say):
    sentence = say("My name is Cathryn.")
    assert "Kathrynne" in english.text(sentence, prompt="Kathrynne, Kathrynne's, Kathrynne.")
    assert "Kathrynne" not in english.text(sentence)


def test_control_tokens_in_a_prompt_are_nothing(hasty, say):
    assert plain(hasty.text(say(FOX), prompt="<|endoftext|><|nospeech|>", hotwords=("<|startoftranscript|>",))) == plain(FOX)


def test_a_prompt_longer_than_the_model_takes_is_cut_at_its_start(hasty, say):
    assert "lazy" in hasty.text(say(FOX), prompt="word " * 5000, hotwords=("many",) * 500)


class TestBadInput:
    @pytest.mark.parametrize("audio", [b"", b"not sound at all", b"ffconcat version 1.0\nfile hello.wav\n", b"RIFF\0\0\0\0WAVE"])
    def test_what_is_no_recording_is_refused(self, english, audio):
        with pytest.raises(BadInputError):
            english.events(audio)

    @pytest.mark.parametrize("language", ["xx", "klingon", "de"])
    def test_a_language_the_model_does_not_know_is_refused_by_name(self, english, say, language):
        with pytest.raises(BadInputError, match="it knows en"):
            english.events(say(FOX), language=language)

    def test_a_recording_over_the_limit_is_refused_not_cut(self, load, tiny, say):
        with pytest.raises(BadInputError):
            load(tiny, max_audio_seconds=1.0).events(say(FOX))

    def test_a_folder_without_a_model_says_what_is_missing(self, tmp_path):
        with pytest.raises(NotReadyError, match=r"model\.bin and no config\.json"):
            WhisperBackend(WhisperOptions(source=Source("x", path=tmp_path))).load()

    def test_a_broken_model_is_told(self, tmp_path, tiny):
        for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
            if (tiny / name).exists():
                (tmp_path / name).write_bytes((tiny / name).read_bytes())
        (tmp_path / "model.bin").write_bytes((tiny / "model.bin").read_bytes()[:100_000])
        with pytest.raises(NotReadyError, match="cannot load"):
            WhisperBackend(WhisperOptions(source=Source("x", path=tmp_path))).load()

    @pytest.mark.parametrize("device", ["mps", "cuda:99", "gpu", "cpu:1", "cuda:x"])
    def test_a_device_that_is_not_here_is_refused(self, tiny, device):
        with pytest.raises(BadInputError, match=r"options\.device"):
            WhisperBackend(WhisperOptions(source=Source("x", path=tiny), device=device)).load()


class TestLive:
    def listen(self, listener, pieces, rate=SAMPLE_RATE):
        box = EventStream()
        for piece in pieces:
            box.put(piece)
        box.finish()
        return list(listener.backend.transcribe(Request(sample_rate=rate), Context(input=box)))

    def pcm(self, samples):
        data = to_pcm(samples)
        return [data[at : at + 3201] for at in range(0, len(data), 3201)]  # odd: no piece has whole samples

    def test_utterances_are_written_down_when_they_end_and_guessed_before(self, hasty, say):
        *events, done = self.listen(hasty, self.pcm(np.concatenate([say(FOX), pause(1), say(SEA), pause(1)])))
        said = [event for event in events if isinstance(event, Segment)]
        assert "lazy dog" in plain(said[0].text)
        assert "sea" in plain("".join(one.text for one in said[1:]))
        guesses = [event.text for event in events if isinstance(event, Partial)]
        assert any("quick" in guess.lower() for guess in guesses)
        assert done.usage.audio_seconds == pytest.approx(sum(map(len, (say(FOX), say(SEA)))) / SAMPLE_RATE + 2, abs=0.1)

    def test_what_is_being_said_when_the_line_ends_is_written_down(self, hasty, say):
        events = self.listen(hasty, self.pcm(say(FOX)))
        assert "lazy dog" in plain("".join(event.text for event in events if isinstance(event, Segment)))

    def test_a_line_without_speech_has_no_words(self, english):
        assert [type(event) for event in self.listen(english, self.pcm(pause(3)))] == [Done]


class TestTogether:
    def test_requests_at_once_get_what_they_get_alone(self, hasty, say):
        texts = [FOX, SEA, "One, two, three, four.", "The weather is nice today."]
        alone = [hasty.text(say(text)) for text in texts]
        heard = {}
        threads = [threading.Thread(target=lambda text=text: heard.update({text: hasty.text(say(text))})) for text in texts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [heard[text] for text in texts] == alone

    @pytest.fixture
    def minutes(self, say):
        """A recording of several windows."""
        return np.concatenate([np.concatenate([say(SEA), pause(0.5)])] * 20)

    def test_a_cancelled_request_stops_after_the_window_it_is_at(self, hasty, minutes, monkeypatch):
        computed = []
        compute = hasty.model._engine._step
        monkeypatch.setattr(hasty.model._engine, "_step", lambda pieces: computed.extend(pieces) or compute(pieces))
        context = Context()
        events = iter(hasty.backend.transcribe(Request(audio=hasty.blob(minutes)), context))
        assert isinstance(next(events), Detected)
        context.cancel()
        assert not any(isinstance(event, Done) for event in events)
        assert hasty.text(pause(1)) == ""
        assert len(computed) <= 2, "the window that told the language, and the one after it"

    def test_unloading_tells_those_who_wait(self, load, tiny, minutes):
        listener = load(tiny, beam_size=1)
        events = iter(listener.backend.transcribe(Request(audio=listener.blob(minutes)), Context()))
        next(events)
        listener.backend.unload()
        with pytest.raises(NotReadyError, match="again"):
            list(events)


class TestManyLanguages:
    @pytest.fixture(scope="class")
    @classmethod
    def many(cls, load, base):
        return load(base, beam_size=1)

    def test_the_card_says_what_it_knows(self, many):
        assert "translate" in many.card.features
        assert {"en", "de", "es", "it"} <= set(many.card.languages)

    def test_the_language_is_detected_with_its_probability(self, many, say):
        detected = next(event for event in many.events(say(FOX)) if isinstance(event, Detected))
        assert detected.language == "en"
        assert 0.5 < detected.probability <= 1

    @pytest.mark.parametrize("language", ["en-US", "English", "auto", ""])
    def test_a_language_may_be_given_with_a_region_by_its_name_or_not_at_all(self, many, say, language):
        assert "fox" in many.text(say(FOX), language=language).lower()

    def test_what_whisper_calls_otherwise_is_called_as_everywhere(self, many):
        assert "jv" in many.card.languages
        assert "jw" not in many.card.languages
        assert many.text(pause(1), language="jv") == ""
        with pytest.raises(BadInputError):
            many.text(pause(1), language="xx")

    def test_translation_of_english_is_english(self, many, say):
        assert "fox" in many.text(say(FOX), task="translate").lower()
