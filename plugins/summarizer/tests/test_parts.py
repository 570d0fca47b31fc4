from hypothesis import given, strategies as st
from modelhost_summarizer.parts import split

texts = st.text(alphabet=st.sampled_from("ab .\n"), max_size=400) | st.text(max_size=200)


@given(texts, st.integers(1, 100))
def test_the_parts_are_the_text_and_none_is_too_long(text: str, most: int) -> None:
    parts = split(text, most)
    assert "".join(parts) == text
    assert all(len(part) <= most for part in parts)
    assert all(parts) or parts == [""]


def test_a_text_is_cut_between_paragraphs_where_that_can_be() -> None:
    paragraphs = [f"Paragraph {number}. It has two sentences.\n\n" for number in range(10)]
    parts = split("".join(paragraphs), 100)
    assert all(part.endswith("\n\n") for part in parts)


def test_else_between_sentences_and_words() -> None:
    assert split("One two. Three four. Five", 16) == ["One two. ", "Three four. Five"]
    assert split("aaa bbb ccc ddd", 8) == ["aaa bbb ", "ccc ddd"]
    assert split("a" * 10, 4) == ["aaaa", "aaa", "aaa"]


def test_parts_are_of_much_the_same_size() -> None:
    sizes = [len(part) for part in split("word " * 1000, 1100)]
    assert max(sizes) < 1.5 * min(sizes)
