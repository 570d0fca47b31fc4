"""How two texts of one recording are laid side by side."""

import pytest
from hypothesis import given, strategies as st
from modelhost.cli.text_diff import ROW_WORDS, Comparison, compare, side_by_side
from rich.console import Console


class TestComparing:
    WORDS = st.lists(st.sampled_from(["a", "b", "c", "D.", "é,", "—"]), max_size=60).map(" ".join)

    @given(WORDS, WORDS)
    def test_every_word_of_both_is_shown_once_and_in_order(self, left: str, right: str) -> None:
        found = compare(left, right)
        for text, side in ((left, "left"), (right, "right")):
            shown = [word for stretch in found.stretches for word in getattr(stretch, side)]
            assert shown == [word for word in text.split() if word != "—"]
        assert 0 <= found.rate <= 1

    @given(WORDS, WORDS)
    def test_words_that_are_said_to_be_the_same_are(self, left: str, right: str) -> None:
        assert all(stretch.left == stretch.right for stretch in compare(left, right).stretches if stretch.same)

    @given(WORDS)
    def test_a_text_does_not_differ_from_itself_in_capitals(self, text: str) -> None:
        assert compare(text, text.upper()).different == 0

    @pytest.mark.parametrize(
        ("left", "right", "different", "length"),
        [
            ("", "", 0, 0),
            ("one two three", "one too three", 1, 3),
            ("one two three", "one three", 1, 3),
            ("one three", "one two three", 1, 3),
            ("It's fine, really.", "its fine really", 0, 3),
            ("one", "two three", 2, 2),
        ],
    )
    def test_lengths_and_differences_are_counted_in_words(self, left: str, right: str, different: int, length: int) -> None:
        found = compare(left, right)
        assert (found.different, found.length) == (different, length)

    def test_long_texts_stay_level(self) -> None:
        many = " ".join(f"word{number}" for number in range(3 * ROW_WORDS))
        rows = printed(compare(f"well {many}", many)).splitlines()
        assert rows[1].startswith("[well] word0 ")
        assert all(row.split()[0] in row.split()[1:] for row in rows[2:])

    def test_what_a_model_hears_is_not_taken_for_markup(self) -> None:
        assert "[[red]x :smile:]" in printed(compare("[red]x :smile:", ""))


def printed(comparison: Comparison) -> str:
    """A comparison as it stands on a very wide page."""
    console = Console(width=600, markup=False, highlight=False)
    with console.capture() as capture:
        console.print(side_by_side(comparison, ("a", "b")))
    return capture.get()
