"""Guesses: what was said before is found, and guessing ends where it does not pay."""

from array import array

from hypothesis import given, strategies as st
from modelhost_gguf_chat.engine.costs import Costs
from modelhost_gguf_chat.engine.drafts import GRAM, LENGTHS, PAUSE, Drafts


def cheap():
    """Costs with which a draft pays: a position more costs a tenth."""
    costs = Costs()
    for size in (1, *(1 + length for length in LENGTHS)):
        for _ in range(3):
            costs.note(size, 9.0 + size)
    return costs


def dear():
    costs = Costs()
    for size in (1, *(1 + length for length in LENGTHS)):
        for _ in range(3):
            costs.note(size, 10.0 * size)
    return costs


def test_what_followed_the_same_tokens_is_proposed():
    text = array("i", range(100))
    said = text + array("i", range(20, 20 + GRAM))
    assert [*Drafts().propose(said, cheap(), 62)] == [*range(20 + GRAM, 20 + GRAM + LENGTHS[0])]
    assert [*Drafts().propose(said, cheap(), 20)] == [*range(20 + GRAM, 20 + GRAM + 15)]
    assert not Drafts().propose(said, cheap(), 5)


def test_the_last_time_it_was_said_counts():
    said = array("i", [*range(GRAM), 50, *range(60, 90), *range(GRAM), 51, *range(70, 99), *range(GRAM)])
    assert Drafts().propose(said, cheap(), 62)[0] == 51


def test_what_has_just_begun_to_repeat_goes_on_like_that():
    said = array("i", [1, 2, 3] * 4)
    assert [*Drafts().propose(said, cheap(), 62)][:7] == [1, 2, 3, 1, 2, 3, 1]


def test_nothing_is_proposed_that_was_not_said_or_would_not_pay():
    assert not Drafts().propose(array("i", range(100)), cheap(), 62)
    assert not Drafts().propose(array("i", [1, 2, 3] * 10), dear(), 62)
    assert not Drafts().propose(array("i", [1, 2, 3] * 10), Costs(), 62)


def test_a_draft_that_was_wrong_ends_guessing_for_longer_each_time():
    drafts, costs = Drafts(), cheap()
    said = array("i", [1, 2, 3] * 400)
    at = 30
    for pause in (PAUSE, 2 * PAUSE, 4 * PAUSE):
        assert drafts.propose(said[:at], costs, 62)
        drafts.note(31, 0, at, costs)
        assert not drafts.propose(said[: at + pause - 1], costs, 62)
        at += pause
    assert drafts.propose(said[:at], costs, 62)
    drafts.note(31, 31, at, costs)
    assert drafts.propose(said[: at + 32], costs, 62)


@given(st.lists(st.integers(0, 2), max_size=200))
def test_whatever_is_proposed_followed_the_same_tokens_before(numbers):
    said = array("i", numbers)
    draft = Drafts().propose(said, cheap(), 62)
    if draft:
        end = [*said[-GRAM:]]
        places = [at for at in range(GRAM, len(said)) if [*said[at - GRAM : at]] == end]
        assert any([*said[at : at + len(draft)]] == [*draft[: len(said) - at]] for at in places)
