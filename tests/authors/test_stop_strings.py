from hypothesis import given, strategies as st
from modelhost import StopStrings

short = st.text("ab", max_size=12)


def ended(text, stops):
    """The rule by brute force: the first position at which any stop string is complete."""
    for end in range(len(text) + 1):
        starts = [end - len(stop) for stop in stops if stop and text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)], True
    return text, False


@given(st.lists(short, max_size=8), st.lists(st.text("ab", max_size=4), max_size=3))
def test_pieces_of_any_size_give_the_text_before_the_first_complete_stop_string(pieces, stops):
    strings = StopStrings(tuple(stops))
    out = "".join(map(strings.feed, pieces)) + strings.flush()
    assert (out, strings.stopped) == ended("".join(pieces), stops)


@given(st.lists(short, max_size=8), st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3))
def test_no_more_is_held_back_than_could_become_a_stop_string(pieces, stops):
    strings = StopStrings(tuple(stops))
    given_out = fed = ""
    for piece in pieces:
        given_out += strings.feed(piece)
        fed += piece
        if strings.stopped:
            return
        held = fed[len(given_out) :]
        assert not held or any(stop.startswith(held) for stop in stops)


def test_without_stop_strings_nothing_is_held_back():
    assert StopStrings(("",)).feed("all of it") == "all of it"


def test_long_stop_strings_that_almost_come_cost_no_more_than_the_text_is_long():
    """By trying every beginning of every string at every piece this would take hours."""
    strings = StopStrings(tuple("a" * 4000 + letter for letter in "bcdefgh"))
    out = "".join(strings.feed("aaaa") for _ in range(5000)) + strings.flush()
    assert out == "a" * 20_000
