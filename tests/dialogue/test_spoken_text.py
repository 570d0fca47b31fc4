"""What is said of a reply that has Markdown in it."""

import pytest
from hypothesis import given, strategies as st
from modelhost.dialogue.spoken_text import ReadAloud

PIECES = [
    *(
        "word ",
        "a",
        " ",
        "\n",
        "\n\n",
        "*",
        "**",
        "_",
        "__",
        "`",
        "```",
        "```py\n",
        "# ",
        "- ",
        "1. ",
        "> ",
        "| a | b |\n",
        "|---|---|\n",
    ),
    *(
        "[",
        "]",
        "(",
        ")",
        "](http://x.de)",
        "![",
        "<",
        ">",
        "<b>",
        "<br>",
        "&amp;",
        "&",
        "\\",
        "~~",
        "---\n",
        "3",
        ".",
        "😀",
        "x_y",
        "2*3",
    ),
]
REPLIES = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Hello **big** and *small* __world__, _yes_ ***no***.", "Hello big and small world, yes no."),
        ("**Note:** it is ~~wrong~~ `right`.", "Note: it is wrong right."),
        ("# A title\nText.", "A title\n\nText."),
        ("Two things:\n- one\n* two\n+ [ ] three\n", "Two things:\n\none\n\ntwo\n\nthree\n"),
        ("1. First\n2) Second", "1. First\n\n2) Second"),
        ("See [the *manual*](https://a.de/a_(b)?c \"Title\") and [this][1].\n[1]: https://a.de", "See the manual and this.\n"),
        ("![A cat](cat.png) sits[^1] at <https://example.com>.", "A cat sits at https://example.com."),
        ("| Name | Age |\n|:-----|----:|\n| Ann | **30** |\n", "Name, Age\n\n\nAnn, 30\n"),
        ("> Quoted **words**\n> go on.", "Quoted words\ngo on."),
        ("Run this:\n```python\nx = a_b * 2  # not a title\n```\nDone.", "Run this:\n\n\nx = a_b * 2  # not a title\n\n\nDone."),
        ("Use `__init__` and ``a ` b``.", "Use __init__ and a ` b."),
        ("Above\n\n---\n\nbelow, and\n***", "Above\n\n\n\n\nbelow, and\n"),
        ("A <b>bold</b> word<br>and a &lt; b &amp; c.<!-- hidden -->", "A bold word and a < b & c."),
        ("\\*not\\* a mark, 2 * 3, 3*4, snake_case, a < b, [sic], #a", "*not* a mark, 2 * 3, 3*4, snake_case, a < b, [sic], #a"),
        ("Great! 😀 It works 👍🏽.", "Great!  It works ."),
        ("It is -5 degrees.\n-5 is cold.\n3.5 is not.", "It is -5 degrees.\n-5 is cold.\n3.5 is not."),
        ("Plain words, e.g. these: nothing changes (really).", "Plain words, e.g. these: nothing changes (really)."),
    ],
)  # fmt: skip
def test_what_is_said_is_what_the_marks_are_about(written: str, said: str) -> None:
    assert ReadAloud.of(written) == said


@given(REPLIES, st.lists(st.integers(1, 9), max_size=60))
def test_however_it_is_written_the_same_is_said(text: str, sizes: list[int]) -> None:
    reader, said, rest = ReadAloud(), "", text
    for size in sizes:
        said += reader.feed(rest[:size])
        rest = rest[size:]
    assert said + reader.feed(rest) + reader.finish() == ReadAloud.of(text)


def test_words_are_said_as_soon_as_nothing_can_change_them() -> None:
    reader = ReadAloud()
    assert [reader.feed(piece) for piece in ("Hel", "lo **bi", "g** wo", "rld. ")] == ["", "Hello ", "big ", "world. "]
    assert [reader.feed(piece) for piece in ("See [the ", "manual](htt", "p://x) ", "now [")] == [
        "See ",
        "",
        "the manual ",
        "now ",
    ]
    assert reader.feed("word " * 50).startswith("[word word ")
    assert reader.finish() == ""


@pytest.mark.parametrize("mark", ["[", "![](", "`", "*", "_", "<b ", "&", "> ", "\\", "[a][", "|", "<!--", "- "])
def test_a_reply_of_marks_alone_takes_no_time(mark: str) -> None:
    reader = ReadAloud()
    for _ in range(2000):
        reader.feed(mark)
    assert len(reader.finish()) <= 2000 * len(mark)
