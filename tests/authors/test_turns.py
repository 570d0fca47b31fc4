"""Who comes next, whatever comes in whatever order."""

import itertools

from hypothesis import given, strategies as st
from modelhost import Turns

PIECES = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 1)), max_size=60)


def turns(pieces, *, batch=4, share=2):
    made = Turns(lambda piece: piece[1], batch=batch, share=share)
    for number, (job, kind) in enumerate(pieces):
        made.add(job, (job, kind, number))
    return made


def batches(made):
    return list(itertools.takewhile(bool, iter(made.take, None)))


@given(PIECES, st.integers(1, 6), st.integers(1, 4))
def test_every_piece_is_taken_once_and_a_jobs_own_in_order(pieces, batch, share):
    taken = [piece for one in batches(turns(pieces, batch=batch, share=share)) for piece in one]
    assert sorted(taken, key=lambda piece: piece[2]) == [(*piece, number) for number, piece in enumerate(pieces)]
    for job in "abcd":
        numbers = [number for name, _, number in taken if name == job]
        assert numbers == sorted(numbers)


@given(PIECES, st.integers(1, 6), st.integers(1, 4))
def test_a_batch_is_of_one_kind_and_no_larger_than_allowed_in_all_and_for_each_job(pieces, batch, share):
    for one in batches(turns(pieces, batch=batch, share=share)):
        assert len(one) <= batch
        assert len({kind for _, kind, _ in one}) == 1
        assert all(len(list(group)) <= share for _, group in itertools.groupby(sorted(job for job, _, _ in one)))


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 4))
def test_a_newcomer_is_in_the_very_next_batch_however_much_others_wait_for(many, batch, share):
    made = turns([("a", 0)] * many, batch=batch, share=share)
    made.take()
    made.add("b", ("b", 0, -1))
    one, two = made.take(), made.take()
    assert ("b", 0, -1) in (one if batch > 1 else one + two)


def test_what_is_dropped_is_given_back_and_never_taken():
    made = turns([("a", 0), ("b", 0), ("a", 0)])
    assert [piece[2] for piece in made.drop("a")] == [0, 2]
    assert made.take() == [("b", 0, 1)]
    assert made.take() == made.drop("a") == []
