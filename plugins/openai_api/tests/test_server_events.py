from itertools import pairwise

import pytest
from hypothesis import given, strategies as st
from modelhost_openai_api.server_events import MOST, EventReader

words = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00"), max_size=12)
line_ends = st.sampled_from(["\n", "\r\n", "\r"])
noise = st.sampled_from(["", ": still at work", "event: message", "id: 7", "retry: 10", "nonsense"])


@st.composite
def streams(draw):
    """A stream as a server may write it, and what it says: data of one or more lines an event."""
    end = draw(line_ends)
    events = draw(st.lists(st.lists(words, min_size=1, max_size=3), max_size=5))
    text = draw(st.sampled_from(["", "\ufeff"]))
    for lines in events:
        for line in lines:
            text += draw(noise.filter(bool)) + end + f"data:{draw(st.sampled_from(['', ' ']))}".ljust(6) + line + end
        text += end * draw(st.integers(1, 3))
    return text.encode(), ["\n".join(lines).encode() for lines in events]


def pieces_of(raw: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(raw), *(cut % (len(raw) + 1) for cut in cuts)})
    return [raw[a:b] for a, b in pairwise(places)]


def read(pieces: list[bytes]) -> list[bytes]:
    reader = EventReader()
    return [data for piece in pieces for data in reader.feed(piece)]


@given(streams(), st.lists(st.integers(0, 10_000), max_size=20))
def test_events_are_the_same_wherever_the_stream_is_cut(stream, cuts):
    raw, expected = stream
    assert read(pieces_of(raw, cuts)) == expected


@given(streams())
def test_events_come_with_their_last_byte(stream):
    raw, expected = stream
    assert read([raw[at : at + 1] for at in range(len(raw))]) == expected


@given(st.lists(st.binary(max_size=40)))
def test_no_bytes_break_it(pieces):
    read(pieces)


@pytest.mark.parametrize("line", [b"data: " + b"x" * 1000, b"data: " + b"x" * 1000 + b"\n", b": comment\n" * 100])
def test_an_event_without_an_end_is_not_kept_for_ever(line):
    with pytest.raises(ValueError, match="without end"):
        read([line] * (MOST // len(line) + 10_000))


def test_half_an_event_at_the_end_is_none():
    assert read([b"data: whole\n\ndata: half\n"]) == [b"whole"]
