"""Requests that wait for a model: nobody is forgotten, whatever happens to the worker or to those who wait."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from modelhost.contract.context import CallInfo, Context
from modelhost.contract.errors import DeadlineError, NotReadyError
from modelhost.pool.queue import Queue, Slot
from modelhost.runner import Runner


class Worker:
    """A runner by name only, loaded when somebody asks for it."""

    def __init__(self, queue: Queue, slots: int = 1) -> None:
        self.queue = queue
        self.slots = slots
        self.runner: Runner | None = None
        self.loads = 0
        self.may_load = asyncio.Event()
        self.may_load.set()
        self.refuses = False

    async def load(self) -> Runner:
        if self.refuses:
            raise NotReadyError("it cannot be loaded")
        await self.may_load.wait()
        if self.runner is None:
            self.loads += 1
            self.runner = cast(Runner, object())
            self.queue.open(self.runner, self.slots)
        return self.runner

    def dies(self) -> None:
        self.runner = None
        self.queue.close()

    def asks(self, *, remaining: float | None = 10.0, counted: bool = True) -> "asyncio.Task[Slot]":
        context = Context(CallInfo(remaining=remaining))
        return asyncio.ensure_future(self.queue.enter(context, self.load, counted=counted))


def run(use: Callable[[Worker], Awaitable[None]], slots: int = 1) -> None:
    async def main() -> None:
        await asyncio.wait_for(use(Worker(Queue(), slots)), 10)

    asyncio.run(main())


async def settled() -> None:
    """Let everything happen that needs no more than turns of the loop."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_who_waits_for_one_load_is_let_in_in_the_order_in_which_they_came() -> None:
    async def use(worker: Worker) -> None:
        worker.may_load.clear()
        tasks = [worker.asks() for _ in range(4)]
        await settled()
        assert worker.queue.waiting == 4
        worker.may_load.set()
        for number, task in enumerate(tasks):
            slot = await task
            assert worker.queue.waiting == 3 - number
            assert not any(later.done() for later in tasks[number + 1 :])
            slot.settle()
            slot.settle()
        assert worker.loads == 1

    run(use)


def test_who_leaves_while_waiting_takes_no_slot_with_them() -> None:
    async def use(worker: Worker) -> None:
        first, second, third = await worker.asks(), worker.asks(), worker.asks()
        await settled()
        second.cancel()
        await settled()
        first.settle()
        assert await third
        assert worker.queue.waiting == 0

    run(use)


def test_who_is_let_in_and_leaves_in_the_same_moment_gives_the_slot_to_the_next() -> None:
    async def use(worker: Worker) -> None:
        first, second, third = await worker.asks(), worker.asks(), worker.asks()
        await settled()
        first.settle()
        second.cancel()
        assert await third

    run(use)


def test_whose_time_is_up_while_waiting_is_told_so_and_one_without_any_does_not_wait() -> None:
    async def use(worker: Worker) -> None:
        await worker.asks()
        for remaining in (0.02, -1.0):
            with pytest.raises(DeadlineError, match="before the model was free"):
                await worker.asks(remaining=remaining)
        assert worker.queue.waiting == 0

    run(use)


def test_a_worker_that_dies_is_loaded_again_for_those_who_wait() -> None:
    async def use(worker: Worker) -> None:
        first, second = await worker.asks(), worker.asks()
        await settled()
        worker.dies()
        slot = await second
        assert (worker.loads, slot.runner) == (2, worker.runner)
        first.settle()  # its slot was the other worker's
        assert not worker.asks().done()

    run(use)


def test_who_is_let_in_to_a_worker_that_dies_before_they_see_it_gets_the_next() -> None:
    async def use(worker: Worker) -> None:
        first, second = await worker.asks(), worker.asks()
        await settled()
        first.settle()
        worker.dies()
        assert (await second).runner is worker.runner
        assert worker.loads == 2

    run(use)


def test_who_waits_for_a_model_that_cannot_be_loaded_again_is_told() -> None:
    async def use(worker: Worker) -> None:
        await worker.asks()
        waiting = [worker.asks(), worker.asks(counted=False)]
        await settled()
        waiting.pop()  # took no slot, so was let in at once
        worker.refuses = True
        worker.dies()
        with pytest.raises(NotReadyError):
            await waiting[0]
        assert worker.queue.waiting == 0

    run(use)


def test_nobody_is_let_in_while_the_worker_drains_and_nobody_is_lost() -> None:
    async def use(worker: Worker) -> None:
        first, second = await worker.asks(), worker.asks()
        worker.queue.begin(first, "asked", live=False)
        await settled()
        worker.queue.pause()
        first.settle()
        await worker.queue.idle(1.0)
        await settled()
        assert not second.done()
        worker.dies()
        assert (await second).runner is worker.runner

    run(use)


def test_a_request_is_suspected_only_where_it_is_alone_and_all_of_it_is_known() -> None:
    async def use(worker: Worker) -> None:
        slots: list[Any] = [await worker.asks() for _ in range(3)]
        worker.queue.begin(slots[0], "one", live=False)
        assert worker.queue.alone() == "one"
        worker.queue.begin(slots[1], "two", live=False)
        assert worker.queue.alone() is None
        slots[0].settle()
        slots[1].settle()
        worker.queue.begin(slots[2], "live", live=True)
        assert worker.queue.alone() is None

    run(use, slots=3)
