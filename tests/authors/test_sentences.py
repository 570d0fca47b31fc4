"""Where sentences end, in text that comes in pieces."""

import pytest
from hypothesis import given, strategies as st
from modelhost.authors.sentences import Sentences

PIECES = [
    *"ab .!?,\n\"'1。！ü-A…」(「3",
    "e.g. ",
    "p.m.",
    "No. ",
    " 3. ",
    "Oktober",
    "\n\n",
    "- ",
    "\u0301",
    "日本",
    "a longer word ",
    "।",
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=200).map("".join)


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
        "Fruit, e.g. apples, is good. |So are nuts.",
        "We meet at 5 p.m. on Monday. |He left at 6 p.m. |The rest stayed.",
        "She has a Ph.D. in physics. |Washington, D.C. is large.",
        "Wait... what? |Wait… what? |Then it stopped... |Silence.",
        '"Really?" she asked. |"I see." he said. |Good.',
        "See No. 5, Fig. 3 and vol. 2. |Is it red? |No. |It is not.",
        "There are approx. five of them, pears etc. and so on. |Others, nuts etc. |That is all.",
        "hello there. |how was it? |fine",
        "Am 3. Oktober und im 2. Weltkrieg. |Es waren 3. |Dann 4.",
        "Den 3. oktober er det. |Ja.",
        "Wir sehen uns am 24.12. um 18 Uhr. |Bis dann!",
        "It was 1999. |2000 was better. |Version 1.2.3. |Then 192.168.0.1:8080. |Good.",
        "¿Qué tal? |¡Bien! |¿Y tú?",
        "नमस्ते। |आप कैसे हैं? |अच्छा।|ठीक है।",
        "مرحبا. |كيف حالك؟ |بخير.",
        "元気?|はい!|「行こう。」と言った。|「はい。」|「どうぞ。」",
        "Great. |😀 Then more.",
    ],
)
def test_sentences_end_where_people_end_them(text: str) -> None:
    assert Sentences.of(text.replace("|", "")) == text.split("|")


@pytest.mark.parametrize(
    "text",
    [
        "Lines that were wrapped,\nas those of mails are, also before a name such as\nJohn Smith or a number like\n12 apples.",
        "This is where it was done. |The line ends in a name like the\nUnited States, and is wrapped.",
        "Die Zeilen sind kurz, und ein\nHauptwort beginnt die nächste\nZeile, ohne dass sie endet.",
        "これは長い文で\n折り返された文です。|次。",
        "A paragraph without a mark\n\n|and another\r\n\r\n|and a third",
        "To buy:\n|- milk\n|- more milk\n|1. bread\n|2. eggs",
        "Milk\n|Eggs\n|Bread",
        "The title of a longer text\n|The text itself, in a line with room for more than the one above.",
    ],
)
def test_a_line_ends_a_sentence_only_where_it_was_not_wrapped(text: str) -> None:
    assert Sentences.of(text.replace("|", "")) == text.split("|")


@pytest.mark.parametrize(
    "whole",
    [
        *(
            "$1,234,567,890",
            "3,5 Prozent",
            "10:45",
            "https://example.com/a,b;c:d",
            "192.168.0.1:8080",
            "2001–2005",
            "red,green,blue",
        ),
        *("2001 – 2005", "1 000 000", "1\u202f000\u202f000", "5 million", "+49-89-123", "word—word", "٣٬٤٥٦", "1，234"),
    ],
)
@pytest.mark.parametrize("words", range(28, 42))
def test_no_number_is_cut_in_a_sentence_that_is_too_long(whole: str, words: int) -> None:
    pieces = Sentences.of(f"It is {'so ' * words}long, {'so ' * 25}{whole} {'and ' * 40}")
    assert len(pieces) > 1
    assert any(whole in piece for piece in pieces)


def test_where_there_is_no_space_no_letter_loses_what_belongs_to_it() -> None:
    assert {len(piece) % 2 for piece in Sentences.of("e\u0301" * 150, 19)} == {0}
    assert Sentences.of("一" * 18 + "1234" + "一" * 18, 20) == ["一" * 18, "1234" + "一" * 16, "一" * 2]


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
