"""The thread that computes, with a model that waits until it is told."""

import queue
import threading
from concurrent.futures import CancelledError

import numpy as np
import pytest
from modelhost import ComputeThread, NotReadyError
from modelhost_embedding.engine import Engine
from modelhost_embedding.turns import Piece, Turns


class Held:
    """Computes a batch when told so; a piece with no tokens fails it."""

    def __init__(self, budget=100):
        self.begun = queue.SimpleQueue()
        self.go = threading.Semaphore(0)
        self.engine = Engine(self._compute, Turns(budget=budget, step=1000, window=256), ComputeThread())

    def _compute(self, pieces):
        self.begun.put(pieces)
        self.go.acquire()
        if any(not piece.tokens for piece in pieces):
            raise ValueError("no tokens")
        return [np.full(2, len(piece.tokens), np.float32) for piece in pieces]

    def begun_with(self):
        return self.begun.get(timeout=10)


@pytest.fixture
def held():
    made = Held()
    yield made
    made.go.release(1000)
    made.engine.close()


def test_a_piece_that_comes_alone_is_computed_at_once(held):
    piece = Piece("a", range(3))
    held.engine.submit([piece])
    assert held.begun_with() == [piece]
    held.go.release()
    assert piece.vector.result(timeout=10).tolist() == [3, 3]


def test_what_gathers_while_the_engine_is_busy_is_the_next_batch(held):
    held.engine.submit([Piece("first", range(3))])
    held.begun_with()
    pieces = [Piece(job, range(3)) for job in range(5)]
    for piece in pieces:
        held.engine.submit([piece])
    held.go.release(2)
    assert held.begun_with() == pieces


def test_one_text_is_in_the_next_batch_while_a_thousand_of_another_request_wait(held):
    held.engine.submit([Piece("big", range(10)) for _ in range(1000)])
    held.begun_with()
    single = Piece("single", range(12))
    held.engine.submit([single])
    held.go.release()
    if single not in held.begun_with():
        held.go.release()
        assert single in held.begun_with()


def test_a_dropped_job_is_not_computed_and_who_waits_for_it_is_told(held):
    held.engine.submit([Piece("busy", range(3))])
    held.begun_with()
    gone, stays = [Piece("gone", range(3)) for _ in range(3)], Piece("stays", range(3))
    held.engine.submit([*gone, stays])
    held.engine.drop("gone")
    held.go.release(2)
    assert held.begun_with() == [stays]
    for piece in gone:
        with pytest.raises(CancelledError):
            piece.vector.result(timeout=10)


def test_a_piece_that_fails_takes_no_other_with_it(held):
    held.engine.submit([Piece("busy", range(3))])
    held.begun_with()
    good, bad = Piece("good", range(3)), Piece("bad", range(0))
    held.engine.submit([good, bad])
    held.go.release(4)
    assert good.vector.result(timeout=10) is not None
    with pytest.raises(ValueError, match="no tokens"):
        bad.vector.result(timeout=10)


def test_closing_tells_what_waits_and_refuses_what_comes_later(held):
    busy, waiting = Piece("busy", range(3)), Piece("waiting", range(3))
    held.engine.submit([busy])
    held.begun_with()
    held.engine.submit([waiting])
    closing = threading.Thread(target=held.engine.close)
    closing.start()

    def submit_until_refused():
        while True:
            held.engine.submit([Piece("late", range(3))])

    with pytest.raises(NotReadyError, match="unloaded"):
        submit_until_refused()
    held.go.release()
    closing.join(10)
    assert busy.vector.result().tolist() == [3, 3]
    assert isinstance(waiting.vector.exception(timeout=10), NotReadyError)
