import operator
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st
from modelhost_gguf_chat.origins import Safe, Traced, escaped, joined, own, pieces, spans

pytestmark = pytest.mark.hostile

# The template's own words are written in Latin letters here, everybody else's in Cyrillic ones; signs may be either's.
SIGNS = " \n\t<>&|%/{}."
ours = st.text("abßŉ" + SIGNS, max_size=8)
theirs = st.text("абв" + SIGNS, max_size=8)


@st.composite
def texts(draw):
    """A text of both kinds in turns, beside it where the own signs are."""
    parts = draw(st.lists(st.one_of(ours.map(own), theirs.map(Traced)), max_size=5))
    return joined(parts)


def honest(made):
    """Whether marks lie within the text, in order, and no Cyrillic letter is marked."""
    at = -1
    for begin, end in spans(made):
        assert at < begin < end <= len(made)
        assert not any("а" <= letter.lower() <= "я" for letter in str.__getitem__(made, slice(begin, end)))
        at = end
    return True


def bare(value):
    return "".join([value]) if isinstance(value, str) else value


METHODS = [
    *((name, ()) for name in ("strip", "lstrip", "rstrip", "upper", "lower", "title", "capitalize", "swapcase", "casefold")),
    *((name, ()) for name in ("split", "rsplit", "splitlines", "isspace", "__len__", "__hash__", "__repr__")),
    *(("splitlines", (True,)), ("split", (None, 1)), ("rsplit", (None, 1)), ("center", (12,)), ("zfill", (9,))),
]


@given(texts(), st.sampled_from(METHODS))
def test_a_traced_text_answers_as_the_text(text, call):
    name, arguments = call
    made, expected = getattr(text, name)(*arguments), getattr(bare(text), name)(*arguments)
    assert made == expected
    for part in made if isinstance(made, list) else [made]:
        assert not isinstance(part, str) or honest(part)


@given(
    texts(),
    texts(),
    texts(),
    st.sampled_from(
        [
            *(("replace", 2), ("split", 1), ("rsplit", 1), ("partition", 1), ("rpartition", 1), ("strip", 1), ("rstrip", 1)),
            *(("removeprefix", 1), ("removesuffix", 1), ("startswith", 1), ("find", 1), ("count", 1), ("__contains__", 1)),
            *(("__add__", 1), ("__mod__", 1), ("__eq__", 1), ("__lt__", 1)),
        ]
    ),
)
def test_a_traced_text_works_with_other_texts_as_the_text(text, first, second, call):
    name, count = call
    given = (first, second)[:count]

    def tried(text, *given):
        try:
            return getattr(text, name)(*given)
        except (ValueError, TypeError) as error:
            return type(error)

    made, expected = tried(text, *given), tried(bare(text), *map(bare, given))
    assert made == expected
    for part in made if isinstance(made, list | tuple) else [made]:
        assert not isinstance(part, str) or honest(part)


@given(texts(), texts(), texts(), st.integers(0, 5), st.integers(-9, 9), st.integers(-9, 9), st.sampled_from([1, 2, -1]))
def test_what_texts_are_made_into_has_the_marks_of_what_it_is_made_of(one, two, three, times, begin, end, step):
    for made, expected in (
        (one + two, bare(one) + bare(two)),
        (bare(one) + two, bare(one) + bare(two)),
        (one.join([two, three, two]), bare(one).join([two, three, two])),
        (one * times, bare(one) * times),
        (one[begin:end:step], bare(one)[begin:end:step]),
        (own("<%s|%s%%>") % (one, two), f"<{bare(one)}|{bare(two)}%>"),
        (own("<%(a)s|%(a)5s>") % {"a": one}, f"<{bare(one)}|{bare(one):>5}>"),
        (joined(list(one)), bare(one)),
        (one.replace(two, three), bare(one).replace(bare(two), bare(three))),
    ):
        assert made == expected
        assert honest(made)


@given(texts(), texts(), texts())
def test_own_words_stay_own_through_what_templates_do_with_them(one, two, three):
    assert (one + two)[: len(one)].own == one.own
    assert (one + two)[len(one) :].own == two.own
    assert one.join([two, three]).own == joined([two, one, three]).own
    assert (own("%s%s") % (one, two)).own == joined([one, two]).own
    assert own("x").replace("x", one).own == one.own
    if len(one.upper()) == len(one):
        assert one.upper().own == one.own


def test_marks_follow_the_place_a_part_was_cut_from_and_not_its_letters():
    # the first "a" is somebody's, the second one the template's: cut at "xa" between, a search would find the first
    text = joined([Traced("1xa"), own("a")])
    assert [part.own for part in text.split("xa")] == [(), ((0, 1),)]
    assert [part.own for part in joined([own("1xa"), Traced("a")]).split("xa")] == [((0, 1),), ()]


@given(st.lists(st.tuples(st.one_of(ours, theirs), st.booleans()), max_size=6))
def test_a_text_falls_into_pieces_where_its_marks_are(parts):
    cut = pieces(joined([own(text) if trusted else Traced(text) for text, trusted in parts]))
    assert "".join(piece.text for piece in cut) == "".join(text for text, _ in parts)
    assert "".join(piece.text for piece in cut if piece.trusted) == "".join(text for text, trusted in parts if trusted)
    assert all(one.trusted != two.trusted for one, two in pairwise(cut))


@given(texts(), texts())
def test_markup_escapes_as_it_does_and_keeps_marks(one, two):
    from markupsafe import Markup, escape

    safe = Safe(one, one.own)
    for made, expected in (
        (safe + two, Markup(bare(one)) + bare(two)),
        (two + safe, bare(two) + Markup(bare(one))),
        (escaped(one), escape(bare(one))),
        (escaped(safe), Markup(bare(one))),
    ):
        assert made == expected
        assert type(made) is Safe
        assert honest(made)
        assert str(made).own == made.own


@pytest.mark.parametrize("name", [name for name in dir(str) if callable(getattr(str, name)) and not name.startswith("__")])
def test_a_method_that_is_not_followed_gives_a_text_that_is_nobodys_own(name):
    """`str` may grow; whatever is new in it loses marks and makes none."""
    made = getattr(joined([own("ab"), Traced("б")]), name)
    assert name in vars(Traced) or isinstance(made, type("".join))


def test_operators_that_strings_do_not_have_fail_as_theirs():
    for values in ((own("a"), 1), (1, own("a")), (own("a"), None)):
        with pytest.raises(TypeError):
            operator.add(*values)
