"""Whose turn it is, whatever comes in whatever order."""

import itertools

from hypothesis import given, strategies as st
from modelhost_embedding.turns import Piece, Turns

PIECES = st.lists(st.builds(Piece, st.sampled_from("abcd"), st.integers(1, 60).map(range), st.integers(0, 1)), max_size=60)
BUDGETS = st.integers(1, 200)
STEPS = st.integers(0, 64)
WINDOWS = st.integers(1, 20)


def turns(pieces, budget=100, step=32, window=20):
    made = Turns(budget=budget, step=step, window=window)
    made.add(pieces)
    return made


def batches(made):
    return list(itertools.takewhile(bool, iter(made.take, None)))


@given(PIECES, BUDGETS, STEPS, WINDOWS)
def test_every_piece_is_taken_once(pieces, budget, step, window):
    taken = list(itertools.chain.from_iterable(batches(turns(pieces, budget, step, window))))
    assert len(taken) == len(pieces)
    assert set(taken) == set(pieces)


@given(PIECES, BUDGETS, STEPS, WINDOWS)
def test_a_batch_keeps_the_budget_padding_included_unless_it_is_one_piece(pieces, budget, step, window):
    for batch in batches(turns(pieces, budget, step, window)):
        assert len(batch) == 1 or len(batch) * max(len(piece.tokens) for piece in batch) <= budget
        assert len({piece.skipped for piece in batch}) == 1
        assert len(batch) <= window


@given(PIECES, BUDGETS, STEPS, WINDOWS)
def test_no_piece_makes_worse_use_of_a_step_than_the_first_alone(pieces, budget, step, window):
    def use(batch):
        return sum(len(piece.tokens) for piece in batch) / (step + len(batch) * max(len(piece.tokens) for piece in batch))

    for batch in batches(turns(pieces, budget, step, window)):
        assert use(batch) >= use(batch[:1]) - 1e-9


@given(st.integers(1, 300), BUDGETS, STEPS, WINDOWS)
def test_a_newcomer_waits_for_one_batch_however_much_another_job_has_waiting(many, budget, step, window):
    made = turns([Piece("a", range(30)) for _ in range(many)], budget, step, window)
    made.take()
    newcomer = Piece("b", range(1))
    made.add([newcomer])
    assert newcomer in made.take() + made.take()


@given(PIECES, BUDGETS, STEPS, WINDOWS)
def test_a_jobs_oldest_piece_waits_for_as_many_batches_as_there_are_jobs(pieces, budget, step, window):
    made = turns(pieces, budget, step, window)
    waiting = dict(made._waiting)
    oldest = {waiting[job][0] for job in waiting}
    assert oldest <= set(itertools.chain.from_iterable(made.take() for _ in range(len(waiting))))


def test_what_is_dropped_is_given_back_and_never_taken():
    one, two, three = Piece("a", range(3)), Piece("b", range(3)), Piece("a", range(3))
    made = turns([one, two, three])
    assert made.drop("a") == [one, three]
    assert made.take() == [two]
    assert made.take() == made.drop("a") == []
    assert not len(made)


def test_texts_of_one_length_go_together_and_very_different_ones_do_not():
    short, other, long = Piece("a", range(10)), Piece("b", range(10)), Piece("c", range(500))
    made = turns([short, long, other], budget=2000)
    assert made.take() == [short, other]
    assert made.take() == [long]
