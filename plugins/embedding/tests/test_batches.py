"""Which texts are computed together, whatever comes in whatever order."""

import itertools

from hypothesis import given, strategies as st
from modelhost import FairQueue
from modelhost_embedding.batches import Batches, Piece

TEXTS = st.builds(Piece, st.integers(1, 60).map(range), st.integers(0, 1))
PIECES = st.lists(st.tuples(st.sampled_from("abcd"), TEXTS), max_size=60)
BUDGETS = st.integers(1, 200)
STEPS = st.integers(0, 64)
WINDOWS = st.integers(1, 20)


def queue(pieces, budget=100, step=32, window=20, packed=False):
    made = FairQueue(window=window, choose=Batches(budget=budget, step=step, packed=packed).choose)
    for job, piece in pieces:
        made.add(job, piece)
    return made


def batches(made):
    return list(itertools.takewhile(bool, iter(made.take, None)))


@given(PIECES, BUDGETS, STEPS, WINDOWS, st.booleans())
def test_every_piece_is_taken_once(pieces, budget, step, window, packed):
    taken = list(itertools.chain.from_iterable(batches(queue(pieces, budget, step, window, packed))))
    assert len(taken) == len(pieces)
    assert set(taken) == {piece for _, piece in pieces}


@given(PIECES, BUDGETS, STEPS, WINDOWS)
def test_a_batch_keeps_the_budget_padding_included_unless_it_is_one_piece(pieces, budget, step, window):
    for batch in batches(queue(pieces, budget, step, window)):
        assert len(batch) == 1 or len(batch) * max(len(piece.tokens) for piece in batch) <= budget
        assert len({piece.skipped for piece in batch}) == 1
        assert len(batch) <= window


@given(PIECES, BUDGETS, STEPS, WINDOWS)
def test_no_piece_makes_worse_use_of_a_step_than_the_first_alone(pieces, budget, step, window):
    def use(batch):
        return sum(len(piece.tokens) for piece in batch) / (step + len(batch) * max(len(piece.tokens) for piece in batch))

    for batch in batches(queue(pieces, budget, step, window)):
        assert use(batch) >= use(batch[:1]) - 1e-9


def test_texts_of_one_length_go_together_and_very_different_ones_do_not():
    short, other, long = Piece(range(10)), Piece(range(10)), Piece(range(500))
    made = queue([("a", short), ("b", long), ("c", other)], budget=2000)
    assert made.take() == [short, other]
    assert made.take() == [long]


@given(PIECES, BUDGETS, STEPS, WINDOWS)
def test_a_packed_batch_keeps_the_budget_without_padding_unless_it_is_one_piece(pieces, budget, step, window):
    for batch in batches(queue(pieces, budget, step, window, packed=True)):
        assert len(batch) == 1 or sum(len(piece.tokens) for piece in batch) <= budget
        assert len({piece.skipped for piece in batch}) == 1
        assert len(batch) <= window


@given(PIECES, BUDGETS, STEPS, WINDOWS)
def test_no_piece_waits_for_one_over_twice_as_long_unless_that_costs_less_than_a_step(pieces, budget, step, window):
    for batch in batches(queue(pieces, budget, step, window, packed=True)):
        lengths = [len(piece.tokens) for piece in batch]
        assert len(batch) == 1 or max(lengths) <= max(2 * min(lengths), step)


def test_packed_texts_of_8_to_24_tokens_are_one_step_and_a_long_one_among_them_is_another():
    short, long = [Piece(range(length)) for length in range(8, 25)], Piece(range(256))
    made = queue([(piece, piece) for piece in (*short[:5], long, *short[5:])], budget=2048, packed=True)
    assert set(made.take()) == set(short)
    assert made.take() == [long]
