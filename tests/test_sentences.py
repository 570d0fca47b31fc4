"""Where sentences end, in text that comes in pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelhost.sentences import Sentences

TEXTS = st.text(alphabet=st.sampled_from("ab .!?,\n\"'1。！ü-"), max_size=300)


@pytest.mark.parametrize(
    "text",
    [
        "It is here. |So are we! |Are they?",
        'He said "Stop." |Then he left.',
        "Dr. Smith met Mr. Jones at 3.15 p. m. and left. |Good.",
        "J. R. R. Tolkien wrote it. |Later…  |More.",
        "1. First of all, this. |2. Then that.",
        "A title\n|And a text.",
        "今日は。|元気ですか？|はい。",
        "Das gilt z. B. hier. |Und ca. zwei Tage.",
    ],
)
def test_sentences_end_where_people_end_them(text: str) -> None:
    assert Sentences.of(text.replace("|", "")) == text.split("|")


def test_a_sentence_is_given_as_soon_as_the_next_begins() -> None:
    cutter = Sentences()
    assert cutter.feed("One is here.") == []
    assert cutter.feed(" ") == []
    assert cutter.feed("T") == ["One is here. "]
    assert cutter.finish() == ["T"]


def test_long_sentences_are_cut_after_clauses_or_between_words() -> None:
    assert Sentences.of("many words here, and then some more words", 20) == ["many words here, ", "and then some more ", "words"]
    assert Sentences.of("x" * 45, 20) == ["x" * 20, "x" * 20, "x" * 5]


@given(TEXTS, st.integers(1, 50))
def test_nothing_is_lost_and_nothing_too_long(text: str, longest: int) -> None:
    pieces = Sentences.of(text, longest)
    assert "".join(pieces) == text
    assert all(pieces)
    assert all(len(piece.rstrip()) <= longest + 1 for piece in pieces)


@given(TEXTS, st.lists(st.integers(1, 30), max_size=20))
def test_however_it_comes_it_is_cut_the_same(text: str, sizes: list[int]) -> None:
    cutter, given_, rest = Sentences(40), [], text
    for size in sizes:
        given_ += cutter.feed(rest[:size])
        rest = rest[size:]
    given_ += cutter.feed(rest) + cutter.finish()
    assert given_ == Sentences.of(text, 40)
