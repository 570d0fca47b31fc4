"""Segments are cut at the times a model writes, and no sound is left out without a word."""

from hypothesis import given, strategies as st
from modelhost_whisper.segments import PRECISION, split

FIRST = 100
TOKENS = st.lists(st.one_of(st.integers(0, 99), st.integers(FIRST, FIRST + 1500)), max_size=40)


def at(seconds):
    return FIRST + round(seconds / PRECISION)


def test_segments_end_where_two_times_stand_side_by_side():
    spans, covered = split([at(0), 1, 2, at(1), at(1), 3, at(2), at(2)], FIRST, 30)
    assert [(span.start, span.end, span.tokens[1:-1]) for span in spans] == [(0, 1, (1, 2)), (1, 2, (3,))]
    assert covered == 2


def test_what_begins_and_does_not_end_is_left_for_the_next_excerpt():
    spans, covered = split([at(0), 1, at(1), at(1), 3, 4], FIRST, 30)
    assert [span.end for span in spans] == [1]
    assert covered == 1


def test_one_time_at_the_end_says_that_nothing_follows():
    spans, covered = split([at(0), 1, at(1), at(1), 3, at(2)], FIRST, 30)
    assert [span.end for span in spans] == [1, 2]
    assert covered == 30


def test_without_pairs_everything_is_one_segment():
    spans, covered = split([at(0), 1, 2], FIRST, 7)
    assert [(span.start, span.end) for span in spans] == [(0, 7)]
    assert covered == 7


@given(TOKENS, st.floats(0.1, 30))
def test_whatever_is_written_the_cover_goes_on_and_ends(tokens, seconds):
    spans, covered = split(tokens, FIRST, seconds)
    assert min(PRECISION, seconds) <= covered <= seconds
    if covered == seconds and not spans:
        raise AssertionError("nothing was heard, and nothing is left")


@given(TOKENS, st.floats(0.1, 30))
def test_no_token_is_in_two_segments_and_those_left_out_are_looked_at_again(tokens, seconds):
    spans, covered = split(tokens, FIRST, seconds)
    kept = [token for span in spans for token in span.tokens]
    assert kept == tokens[: len(kept)]
    assert len(kept) == len(tokens) or covered < seconds or max(tokens[len(kept) - 1 :]) >= FIRST
