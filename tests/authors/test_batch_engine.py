"""The engine that several requests share, with a model that waits until it is told."""

import asyncio
import queue
import threading
from concurrent.futures import CancelledError

import pytest
from modelhost import BatchEngine, ComputeThread, NotReadyError


class Held:
    """Computes a batch when told so; a negative number fails it, and one over a thousand has no result."""

    def __init__(self, **how):
        self.begun = queue.SimpleQueue()
        self.threads = set()
        self.go = threading.Semaphore(0)
        self.compute = ComputeThread()
        self.engine = BatchEngine(self._step, self.compute, **how)

    def _step(self, numbers):
        self.threads.add(threading.current_thread())
        self.begun.put(list(numbers))
        self.go.acquire()
        if -999 in numbers:
            raise SystemExit
        if any(number < 0 for number in numbers):
            raise ValueError("negative")
        return [number * 2 for number in numbers if number <= 1000]

    def begun_with(self):
        return self.begun.get(timeout=10)


@pytest.fixture
def make():
    made = []

    def make(**how):
        made.append(Held(**how))
        return made[-1]

    yield make
    for held in made:
        held.go.release(10_000)
        held.engine.close()
        held.compute.shutdown()


@pytest.fixture
def held(make):
    return make()


def test_a_piece_that_comes_alone_is_computed_at_once(held):
    future = held.engine.submit("a", 3)
    assert held.begun_with() == [3]
    held.go.release()
    assert future.result(timeout=10) == 6


def test_what_gathers_while_it_is_busy_is_the_next_batch(held):
    held.engine.submit("first", 0)
    held.begun_with()
    for job in range(1, 6):
        held.engine.submit(job, job)
    held.go.release(2)
    assert held.begun_with() == [1, 2, 3, 4, 5]


def test_steps_are_taken_on_the_compute_thread(held):
    held.go.release(100)
    for number in range(20):
        held.engine.submit(number, number).result(timeout=10)
    held.engine.close()
    assert held.threads == {held.compute.submit(threading.current_thread).result(timeout=10)}


def test_a_runtime_that_computes_several_steps_at_once_is_given_several(make):
    held = make(batch=1, loops=2)
    futures = held.engine.submit_all("a", [1, 2])
    assert {*held.begun_with(), *held.begun_with()} == {1, 2}
    held.go.release(2)
    assert [future.result(timeout=10) for future in futures] == [2, 4]
    assert len(held.threads) == 2


def test_one_piece_is_in_the_next_batch_while_a_thousand_of_another_request_wait(make):
    held = make(batch=8)
    held.engine.submit_all("big", range(1000))
    held.begun_with()
    held.engine.submit("single", 7777)
    held.go.release()
    assert 7777 in held.begun_with()


def test_pieces_of_different_kinds_are_computed_one_kind_after_the_other(make):
    held = make(kind=lambda number: number % 2)
    held.engine.submit("busy", 0)
    held.begun_with()
    held.engine.submit_all("a", [1, 2, 3])
    held.go.release(3)
    assert [held.begun_with(), held.begun_with()] == [[1, 3], [2]]


def test_a_batch_is_what_the_owner_chooses(make):
    held = make(choose=lambda numbers: [0, len(numbers) - 1] if len(numbers) > 1 else [0])
    held.engine.submit("busy", 0)
    held.begun_with()
    held.engine.submit_all("a", [1, 2, 3])
    held.go.release(2)
    assert held.begun_with() == [1, 3]


def test_a_dropped_job_is_not_computed_and_who_waits_for_it_is_told(held):
    held.engine.submit("busy", 0)
    held.begun_with()
    gone = held.engine.submit_all("gone", [1, 2, 3])
    held.engine.submit("stays", 4)
    held.engine.drop("gone")
    held.go.release(2)
    assert held.begun_with() == [4]
    for future in gone:
        with pytest.raises(CancelledError):
            future.result(timeout=10)


def test_a_cancelled_future_is_not_computed_and_one_that_is_being_computed_cannot_be_cancelled(held):
    busy = held.engine.submit("busy", 0)
    held.begun_with()
    cancelled, stays = held.engine.submit_all("a", [1, 2])
    assert cancelled.cancel()
    assert not busy.cancel()
    held.go.release(2)
    assert held.begun_with() == [2]
    assert stays.result(timeout=10) == 4


def test_a_piece_that_fails_takes_no_other_with_it_and_the_engine_goes_on(held):
    held.engine.submit("busy", 0)
    held.begun_with()
    good, bad = held.engine.submit("good", 1), held.engine.submit("bad", -1)
    held.go.release(100)
    assert good.result(timeout=10) == 2
    with pytest.raises(ValueError, match="negative"):
        bad.result(timeout=10)
    assert held.engine.submit("later", 5).result(timeout=10) == 10


def test_a_step_that_would_end_the_process_is_told_to_who_waits_and_the_engine_goes_on(held):
    first = held.engine.submit("a", -999)
    held.begun_with()
    held.go.release()
    with pytest.raises(SystemExit):
        first.result(10)
    after = held.engine.submit("b", 3)
    held.begun_with()
    held.go.release()
    assert after.result(10) == 6


def test_a_step_without_a_result_for_each_piece_is_an_error_of_that_piece(held):
    held.go.release(100)
    with pytest.raises(ValueError, match="1 pieces has 0 results"):
        held.engine.submit("a", 2000).result(timeout=10)
    assert held.engine.submit("b", 1).result(timeout=10) == 2


def test_a_coroutine_can_wait_for_a_result(held):
    held.go.release(100)

    async def wait():
        return await asyncio.wrap_future(held.engine.submit("a", 21))

    assert asyncio.run(wait()) == 42


def test_closing_tells_what_waits_refuses_what_comes_later_and_gives_the_thread_back(held):
    busy = held.engine.submit("busy", 1)
    held.begun_with()
    waiting = held.engine.submit("waiting", 2)
    closing = threading.Thread(target=held.engine.close)
    closing.start()

    def submit_until_refused():
        while True:
            held.engine.submit("late", 3)

    with pytest.raises(NotReadyError, match="unloaded"):
        submit_until_refused()
    held.go.release()
    closing.join(10)
    assert busy.result() == 2
    assert isinstance(waiting.exception(timeout=10), NotReadyError)
    assert held.compute.submit(lambda: "free").result(timeout=10) == "free"
