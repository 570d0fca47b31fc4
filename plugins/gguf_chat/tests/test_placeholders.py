import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelhost_gguf_chat.placeholders import DamagedError, Placeholders

pytestmark = pytest.mark.hostile

texts = st.text("ab </think>\n\t{%}é", max_size=20)


@given(texts, st.sampled_from(["strip", "lstrip", "rstrip", "upper", "split", "splitlines", "title", "isspace", "lower"]))
def test_a_hidden_text_answers_as_the_text(text, name):
    placeholders = Placeholders()
    hidden = placeholders.hide(text)
    assert placeholders.reveal(getattr(hidden, name)()) == getattr(text, name)()


@given(texts, texts, st.integers(-5, 5))
def test_a_hidden_text_is_looked_into_as_the_text(text, other, at):
    placeholders = Placeholders()
    hidden = placeholders.hide(text)
    assert bool(hidden) == bool(text)
    assert len(hidden) == len(text)
    assert (other in hidden) == (other in text)
    assert (hidden == other) == (text == other)
    assert hidden.startswith(other) == text.startswith(other)
    assert placeholders.reveal(hidden[at:]) == text[at:]
    assert placeholders.reveal(list(hidden)) == list(text)
    assert placeholders.reveal(hidden.replace("a", other)) == text.replace("a", other)
    assert {hidden: 1}.get(text) == 1
    assert placeholders.reveal(f"{[hidden]}") == f"{[text]}"
    if other:
        assert placeholders.reveal(hidden.split(other)[-1]) == text.split(other)[-1]


@given(st.lists(st.tuples(texts, st.booleans()), max_size=6))
def test_rendered_text_splits_into_what_was_hidden_and_what_was_not(parts):
    placeholders = Placeholders()
    rendered = "".join(placeholders.hide(text) if hide else text for text, hide in parts)
    pieces = placeholders.split(rendered)
    assert "".join(piece.text for piece in pieces) == "".join(text for text, _ in parts)
    assert [piece.text for piece in pieces if not piece.trusted] == [text for text, hide in parts if hide and text]


@given(texts, texts, texts)
def test_trimming_reaches_into_hidden_texts_at_the_ends(before, text, after):
    placeholders = Placeholders()
    trimmed = placeholders.trim(before + placeholders.hide(text) + after, None)
    assert placeholders.reveal(trimmed) == (before + text + after).strip()


def test_what_stands_for_one_request_means_nothing_in_another():
    mine, yours = Placeholders(), Placeholders()
    with pytest.raises(DamagedError):
        mine.split("".join([yours.hide("words")]))


def test_a_placeholder_cut_to_pieces_is_noticed():
    placeholders = Placeholders()
    rendered = "".join([placeholders.hide("words")])
    for at in range(1, len(rendered)):
        with pytest.raises(DamagedError):
            placeholders.split(rendered[at:])


def test_someone_who_writes_a_placeholder_gets_it_back_as_text():
    placeholders = Placeholders()
    first = "".join([placeholders.hide("secret")])
    [piece] = placeholders.split("".join([placeholders.hide(first)]))
    assert (piece.text, piece.trusted) == (first, False)
