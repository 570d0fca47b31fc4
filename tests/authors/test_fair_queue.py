"""Who comes next, whatever comes in whatever order, and however a batch is chosen."""

import itertools

from hypothesis import given, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from modelhost import FairQueue

JOBS = "abcd"
PIECES = st.lists(st.tuples(st.sampled_from(JOBS), st.integers(0, 1)), max_size=60)
SIZES = st.integers(1, 6)
SHARES = st.integers(1, 4)
WINDOWS = st.integers(1, 20)


def queue(pieces, **how):
    made = FairQueue(kind=lambda piece: piece[1], **how)
    for number, (job, kind) in enumerate(pieces):
        made.add(job, (job, kind, number))
    return made


def batches(made):
    return list(itertools.takewhile(bool, iter(made.take, None)))


@given(PIECES, SIZES, SHARES, WINDOWS)
def test_every_piece_is_taken_once_and_a_jobs_own_of_one_kind_in_order(pieces, batch, share, window):
    taken = [piece for one in batches(queue(pieces, batch=batch, share=share, window=window)) for piece in one]
    assert sorted(taken, key=lambda piece: piece[2]) == [(*piece, number) for number, piece in enumerate(pieces)]
    for job, kind in itertools.product(JOBS, (0, 1)):
        numbers = [number for *which, number in taken if which == [job, kind]]
        assert numbers == sorted(numbers)


@given(PIECES, SIZES, SHARES)
def test_a_batch_is_of_one_kind_and_no_larger_than_allowed_in_all_and_for_each_job(pieces, batch, share):
    for one in batches(queue(pieces, batch=batch, share=share)):
        assert len(one) <= batch
        assert len({kind for _, kind, _ in one}) == 1
        assert all(len(list(group)) <= share for _, group in itertools.groupby(sorted(job for job, _, _ in one)))


@given(st.integers(1, 40), SIZES, SHARES)
def test_a_newcomer_is_in_the_very_next_batch_however_much_others_wait_for(many, batch, share):
    made = queue([("a", 0)] * many, batch=batch, share=share)
    made.take()
    made.add("b", ("b", 0, -1))
    one, two = made.take(), made.take()
    assert ("b", 0, -1) in (one if batch > 1 else one + two)


@given(PIECES, SIZES, WINDOWS, st.randoms(use_true_random=False))
def test_a_jobs_oldest_waits_for_as_many_batches_as_there_are_jobs_whatever_is_chosen_beside_the_first(
    pieces, batch, window, random
):
    def choose(waiting):
        return [0, *(number for number in range(1, len(waiting)) if random.random() < 0.5)]

    made = FairQueue(batch=batch, window=window, choose=choose)
    oldest = {}
    for number, (job, _) in enumerate(pieces):
        made.add(job, (job, number))
        oldest.setdefault(job, (job, number))
    assert set(oldest.values()) <= set(itertools.chain.from_iterable(made.take() for _ in oldest))


@given(PIECES, SIZES)
def test_no_more_is_taken_than_there_is_room_for(pieces, most):
    assert len(queue(pieces).take(most)) <= most
    assert queue(pieces).take(0) == []


def test_what_is_dropped_is_given_back_and_never_taken():
    made = queue([("a", 0), ("b", 0), ("a", 0)])
    assert [piece[2] for piece in made.drop("a")] == [0, 2]
    assert made.take() == [("b", 0, 1)]
    assert made.take() == made.drop("a") == []
    assert not made


class AsAList(RuleBasedStateMachine):
    """Whatever is done to it in whatever order, it holds what a list would."""

    def __init__(self):
        super().__init__()
        self.queue = FairQueue(batch=3, share=2, kind=lambda piece: piece[1] % 2)
        self.held = []
        self.numbers = itertools.count()

    @rule(job=st.sampled_from(JOBS), many=st.integers(0, 4))
    def add(self, job, many):
        pieces = [(job, next(self.numbers)) for _ in range(many)]
        self.queue.add(job, *pieces)
        self.held += pieces

    @rule(most=st.none() | st.integers(0, 4))
    def take(self, most):
        taken = self.queue.take(most)
        assert bool(taken) == bool(self.held and most != 0)
        self.held = [piece for piece in self.held if piece not in taken]

    @rule(job=st.sampled_from(JOBS))
    def drop(self, job):
        assert self.queue.drop(job) == [piece for piece in self.held if piece[0] == job]
        self.held = [piece for piece in self.held if piece[0] != job]

    @invariant()
    def it_holds_as_much(self):
        assert len(self.queue) == len(self.held)
        assert bool(self.queue) == bool(self.held)


TestAsAList = AsAList.TestCase
