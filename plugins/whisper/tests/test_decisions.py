"""What is decided over times and texts alone: the next excerpt, what is a loop, which language it is, rising times."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from modelhost import Segment, Word
from modelhost.audio import SAMPLE_RATE, Span, Window
from modelhost_whisper.excerpts import SKIPPED, WINDOW, Excerpt
from modelhost_whisper.long_segments import LONGEST, split_long_segment
from modelhost_whisper.loops import before_loop, says_something
from modelhost_whisper.segments import WindowSegment
from modelhost_whisper.timestamps import with_rising_times
from modelhost_whisper.votes import Votes


def excerpt(seconds, *speech, at=0.0):
    spans = tuple(Span(start=start, end=end) for start, end in speech)
    return Excerpt(Window(samples=np.zeros(int(seconds * SAMPLE_RATE), np.float32), start=0.0, end=seconds, speech=spans), at)


class TestLooks:
    def test_where_speech_follows_the_last_time_it_is_looked_at(self):
        following = excerpt(16, (0.1, 0.9), (4.2, 16)).after(16.0, 1.0)
        assert following.at == pytest.approx(4.0)
        assert following.speech[0].start == pytest.approx(0.2)

    def test_speech_without_a_pause_is_looked_at_from_the_last_time_on(self):
        assert excerpt(16, (0, 15)).after(16.0, 6.0).at == 6.0

    def test_a_time_that_is_a_little_early_has_missed_nothing(self):
        assert excerpt(16, (0, 15)).after(16.0, 14.4) is None
        assert excerpt(16, (0, 10), (10.3, 10.5)).after(16.0, 10.1) is None

    def test_a_model_that_stopped_in_the_middle_goes_on_there(self):
        assert excerpt(16).after(7.5, 7.5).at == 7.5

    def test_a_long_window_goes_on_after_thirty_seconds(self):
        assert excerpt(70, at=10).after(WINDOW, WINDOW).at == 40
        assert excerpt(70, at=41).after(29.0, 29.0) is None

    def test_where_nothing_is_heard_later_speech_is_computed(self):
        assert excerpt(30, (1, 2), (3, 4), (1 + SKIPPED, 9)).past().at == pytest.approx(SKIPPED + 0.8)
        assert excerpt(30, (1, 2), (3, 4)).past() is None
        assert excerpt(30).past() is None

    @given(
        st.lists(st.tuples(st.floats(0, 40), st.floats(0.01, 5)), max_size=8),
        st.floats(0, 40),
        st.floats(0, 30),
    )
    def test_a_look_always_goes_on_and_so_ends(self, speech, at, speech_end):
        one = excerpt(41, *sorted((start, start + length) for start, length in speech), at=at)
        for following in (one.after(one.length, min(speech_end, one.length)), one.past()):
            assert following is None or following.at > one.at + 0.05


class TestLoops:
    def test_what_was_heard_before_a_loop_is_kept(self):
        assert before_loop([" It was a cold day.", " I am sorry,", " I am sorry,", " I am sorry,", " I am sorry,"]) == 1

    def test_a_loop_inside_a_segment_takes_that_segment(self):
        assert before_loop([" It was cold.", " And then we, we, we, we, we, we"]) == 1

    def test_a_loop_in_a_language_without_spaces_is_one_too(self):
        assert before_loop(["今日は寒いです。", "ありがとう" * 8]) == 1

    def test_all_of_what_is_no_such_loop_is_left_out(self):
        assert before_loop([" one two one three one two"]) == 0

    @pytest.mark.parametrize("text", ["...", " .", "♪♪", " - ", ""])
    def test_marks_alone_say_nothing(self, text):
        assert not says_something(text)
        assert says_something(text + "é")


class TestVotes:
    def test_the_language_of_most_of_the_speech_is_chosen(self):
        votes = Votes()
        votes.add({"en": 0.92, "es": 0.05}, 0.8)
        assert not votes.enough
        votes.add({"es": 0.98, "en": 0.01}, 9.5)
        assert votes.enough
        assert votes.best == ("es", pytest.approx(0.907, abs=0.01))

    def test_more_is_asked_while_it_is_unsure_but_not_for_ever(self):
        votes = Votes()
        for _ in range(3):
            votes.add({"km": 0.2, "en": 0.1}, 30)
            assert not votes.enough
        votes.add({"km": 0.2, "en": 0.1}, 30)
        assert votes.enough


class TestTimes:
    def test_a_segment_that_begins_before_the_last_one_ends_is_moved(self):
        assert with_rising_times(Segment(start=4.3, end=6, text="x"), 5.0) == Segment(start=5.0, end=6, text="x")
        assert with_rising_times(Segment(start=4.3, end=4.6, text="x"), 5.0) == Segment(start=5.0, end=5.02, text="x")

    @given(st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9)), max_size=12), st.floats(0, 5), st.floats(0, 5), st.floats(0, 9))
    def test_words_rise_have_a_length_and_are_inside(self, times, start, length, after):
        words = tuple(Word(text="x", start=a, end=b) for a, b in times)
        risen = with_rising_times(Segment(start=start, end=start + length, text="x", words=words), after)
        assert after <= risen.start < risen.end
        told = [time for word in risen.words for time in (word.start, word.end)]
        assert told == sorted(told)
        assert all(word.end > word.start for word in risen.words)
        assert all(risen.start - 0.001 <= time <= risen.end + 0.001 for time in told)

    def test_a_segment_of_half_a_minute_is_cut_where_sentences_end(self):
        said = [" One", " two.", " Three", " four."] * 10
        words = tuple(Word(text=text, start=n * 0.7, end=n * 0.7 + 0.5) for n, text in enumerate(said))
        parts = split_long_segment(WindowSegment(0.0, 29.0, "".join(said), (), words), lambda text: [len(text)])
        assert "".join(part.text for part in parts) == "".join(said)
        assert all(part.end - part.start <= LONGEST for part in parts)
        assert all(part.text.endswith(".") for part in parts)
        assert (parts[0].start, parts[-1].end) == (0.0, 29.0)
        assert len(parts) <= 6
