"""Recordings of any length become text: window by window, whole, and without what the model says about them."""

import itertools

import numpy as np
import pytest
from modelhost import BadInputError, Context, Detected, Done, Progress, Segment, TranscribeRequest
from modelhost.audio import SAMPLE_RATE
from modelhost.contract.types import Blob
from sounds import SENTENCE, voiced, wav

WORDS = "The quick brown fox jumps."


def words(segments):
    return "".join(segment.text for segment in segments).strip()


@pytest.mark.parametrize(("family", "count"), [("gemma3n", 188), ("gemma4", 25 * 12), ("gemma4_unified", 25 * 12)])
def test_a_clip_stands_for_as_many_tokens_as_the_family_has_for_it(load, folder, family, count):
    clip = load(folder(family)).model.parts.audio_features.clip_of(voiced(12.0))
    assert clip.tokens == count


def test_every_window_of_a_long_recording_is_written_down_in_order(saying):
    gemma = saying(*SENTENCE)
    samples = voiced(95.0, pauses=[(21, 21.8), (47, 47.8), (70, 70.8)])
    *events, done = gemma.events(samples, language="en")
    segments = [event for event in events if not isinstance(event, Progress)]
    assert [segment.text for segment in segments] == [" " + WORDS] * len(segments)
    assert len(segments) >= 4
    assert all(segment.end - segment.start <= 30 for segment in segments)
    assert all(before.end <= after.start for before, after in itertools.pairwise(segments))
    assert segments[0].start < 0.5
    assert segments[-1].end > 94.5
    assert not any(segment.degenerate for segment in segments)
    fractions = [event.fraction for event in events if isinstance(event, Progress)]
    assert fractions == sorted(fractions)
    assert isinstance(done, Done)
    assert done.usage.audio_seconds == pytest.approx(95.0)
    assert 25 * 90 < done.usage.audio_tokens < done.usage.input_tokens
    assert done.usage.output_tokens == 5 * len(segments)


def test_the_language_the_model_tells_is_told_once_and_no_word_of_the_text(saying):
    gemma = saying("[de]", " Der", " Fuchs", " springt.", "<turn|>")
    events = gemma.events(voiced(45.0))
    assert [event.language for event in events if isinstance(event, Detected)] == ["de"]
    assert isinstance(events[0], Detected)
    assert words(gemma.segments(voiced(3.0))) == "Der Fuchs springt."


def test_a_language_that_is_given_is_not_asked_for(saying):
    gemma = saying(*SENTENCE)
    assert not any(isinstance(event, Detected) for event in gemma.events(voiced(3.0), language="en"))
    with pytest.raises(BadInputError, match="no language 'klingon'"):
        gemma.events(voiced(3.0), language="klingon")


@pytest.mark.parametrize("before", ["Sure, here is the transcription:", "Transcript:\n", "Here's the transcript of the audio: "])
def test_the_models_own_words_about_the_recording_are_left_out(saying, before):
    assert words(saying(before, *SENTENCE).segments(voiced(3.0), language="en")) == WORDS


def test_thoughts_and_control_tokens_are_left_out(saying):
    thinking = saying("<|channel>", "thought\n", "hm", "<channel|>", "<|think|>", "Yes.", "<turn|>")
    assert words(thinking.segments(voiced(3.0), language="en")) == "Yes."


def test_where_the_model_hears_nobody_there_is_no_segment(saying):
    assert saying("[no", " speech]", "<turn|>").segments(voiced(3.0), language="en") == []


def test_silence_is_not_even_asked_about(saying):
    gemma = saying(*SENTENCE)
    *events, done = gemma.events(np.zeros(5 * SAMPLE_RATE, np.float32))
    assert events == []
    assert done.usage.input_tokens == 0
    assert done.usage.audio_seconds == 5.0


def test_a_loop_is_stopped_early_tried_again_and_left_out(saying):
    *events, done = saying("la", " lo", "la").events(voiced(20.0), language="en")
    assert [event for event in events if isinstance(event, Segment)] == []
    assert done.usage.output_tokens < 3 * 100  # three attempts, each cut after some 48 tokens of the 352 it may have


def test_a_loop_at_one_temperature_is_forgotten_where_another_helps(saying, monkeypatch):
    from modelhost_gemma_audio import recording

    attempts = iter(["la " * 40, "These are the words."])
    monkeypatch.setattr(recording, "spoken", lambda text: next(attempts))
    (segment,) = saying(*SENTENCE).segments(voiced(3.0), language="en")
    assert (segment.text, segment.temperature, segment.degenerate) == (" These are the words.", 0.4, False)


def test_prompt_hotwords_and_task_reach_the_model(gemma4, monkeypatch):
    prompts = []
    of_chat = gemma4.model.parts.prompts.of_chat

    def noted(turns, clips):
        prompts.append(turns[0].text)
        return of_chat(turns, clips)

    monkeypatch.setattr(gemma4.model.parts.prompts, "of_chat", noted)
    gemma4.events(voiced(3.0), language="de", task="translate", prompt="a call about tyres", hotwords=("Modelhost",))
    assert "a call about tyres" in prompts[0]
    assert "Modelhost" in prompts[0]
    assert "German" in prompts[0]
    assert "into English" in prompts[0]


def test_a_temperature_that_is_asked_for_comes_first_and_higher_ones_after(gemma4):
    assert gemma4.model.transcription.ladder(None) == (0.0, 0.4, 0.8)
    assert gemma4.model.transcription.ladder(0.1) == (0.1, 0.4, 0.8)
    assert gemma4.model.transcription.ladder(0.9) == (0.9,)


def test_a_cancelled_transcription_ends_without_done(saying):
    gemma = saying(*SENTENCE)
    context = Context()
    events = gemma.backend.transcribe(TranscribeRequest(audio=Blob(wav(voiced(95.0))), language="en"), context)
    first = next(events)
    context.cancel()
    assert not any(isinstance(event, Done) for event in [first, *events])


def test_windows_of_a_recording_are_computed_together_and_give_what_each_gives_alone(load, gemma4):
    together_and_alone_are_the_same(load, gemma4)


@pytest.mark.slow
def test_that_holds_for_every_family_that_hears(load, hearing):
    together_and_alone_are_the_same(load, hearing)


def together_and_alone_are_the_same(load, model):
    samples = voiced(70.0, pauses=[(20, 20.8), (45, 45.8)])
    one_by_one = load(model.backend.options.source.path, batch_size=1)
    assert model.segments(samples, language="en") == one_by_one.segments(samples, language="en")


@pytest.mark.parametrize(
    "audio", [b"", b"not sound at all", b"ffconcat version 1.0\nfile hello.wav\n", b"RIFF\0\0\0\0WAVE", b"/etc/passwd"]
)
def test_what_is_no_recording_is_refused(gemma4, audio):
    with pytest.raises(BadInputError):
        gemma4.events(audio)


def test_a_recording_over_the_limit_is_refused_not_cut(load, folder):
    with pytest.raises(BadInputError):
        load(folder("gemma4"), max_audio_seconds=2.0).events(voiced(3.0))


def test_other_rates_are_heard_at_the_right_speed(saying):
    gemma = saying(*SENTENCE)
    (done,) = [event for event in gemma.events(wav(voiced(4.0), rate=8000)) if isinstance(event, Done)]
    assert done.usage.audio_seconds == pytest.approx(8.0, abs=0.05)


def test_live_sound_is_written_down_utterance_by_utterance(saying):
    gemma = saying(*SENTENCE)
    samples = voiced(9.0, pauses=[(3, 5), (8, 9)])
    pcm = wav(samples)[44:]
    context = Context(input=[pcm[at : at + 16_000] for at in range(0, len(pcm), 16_000)])
    *events, done = gemma.backend.transcribe(TranscribeRequest(language="en"), context)
    segments = [event for event in events if not isinstance(event, Progress)]
    assert [segment.text for segment in segments] == [" " + WORDS] * 2
    assert segments[0].end < segments[1].start
    assert done.usage.audio_seconds == pytest.approx(9.0)
